-- Has a delivery sent again at once, unless its webhook is gone.
UPDATE webhook_deliveries AS d
SET status = 'PENDING', due_at = now(), ended_at = NULL, round = 0
WHERE d.account_id = $1
  AND d.test = $2
  AND d.id = $3
  AND (
      d.webhook_id IS NULL
      OR EXISTS (
          SELECT FROM webhooks AS w
          WHERE w.account_id = d.account_id AND w.id = d.webhook_id AND w.disabled_at IS NULL
      )
  )
RETURNING
    id, task_id, webhook_id, url, status, attempts, answer_status, answer, error, created_at, attempted_at, due_at,
    ended_at
