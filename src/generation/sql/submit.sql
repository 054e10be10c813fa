-- Takes a batch of submissions; the function tells how.
SELECT ordinal, outcome, task_id, available, created_at, deadline_at
FROM submit_tasks($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
