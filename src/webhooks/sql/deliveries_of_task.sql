-- The same of one task: read by the index of tasks, whole, since a task owes few; only then put in order.
WITH owed AS MATERIALIZED (
    SELECT * FROM webhook_deliveries WHERE account_id = $1 AND task_id = $7
)
SELECT
    id, task_id, webhook_id, url, status, attempts, answer_status, answer, error, created_at, attempted_at, due_at,
    ended_at
FROM owed
WHERE test = $2
  AND id < COALESCE($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  AND ($4::uuid IS NULL OR webhook_id = $4)
  AND ($5::text IS NULL OR status = $5)
ORDER BY id DESC
LIMIT $6
