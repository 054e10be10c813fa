-- Writes down the intent to ask an upstream, before asking. Refused when the task has ended, is to
-- be canceled, belongs to another node, or has seen another attempt: of two that try the same one,
-- only one goes on.
UPDATE tasks
SET
    status = 'PROCESSING',
    attempt = $4,
    provider = $5,
    upstream_id = NULL,
    started_at = COALESCE(started_at, now())
WHERE account_id = $1
  AND id = $2
  AND node_id = $3
  AND attempt = $4 - 1
  AND finished_at IS NULL
  AND NOT cancel_requested
RETURNING started_at
