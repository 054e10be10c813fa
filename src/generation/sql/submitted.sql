-- Records the upstream's id for an attempt. Whoever knows it may write it, for the sake of whoever
-- works on the task by now.
UPDATE tasks
SET upstream_id = $4
WHERE account_id = $1 AND id = $2 AND attempt = $3 AND finished_at IS NULL
