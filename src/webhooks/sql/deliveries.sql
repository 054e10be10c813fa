-- A page of what an account's world was sent, newest first, walking the primary key backwards. Null means: from the
-- newest, to any webhook, with any status.
SELECT
    id, task_id, webhook_id, url, status, attempts, answer_status, answer, error, created_at, attempted_at, due_at,
    ended_at
FROM webhook_deliveries
WHERE account_id = $1
  AND test = $2
  AND id < COALESCE($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  AND ($4::uuid IS NULL OR webhook_id = $4)
  AND ($5::text IS NULL OR status = $5)
ORDER BY id DESC
LIMIT $6
