-- Keeps the files that came after a task had failed.
UPDATE tasks
SET late_outputs = $3
WHERE account_id = $1 AND id = $2 AND status = 'FAILED' AND late_outputs IS NULL
