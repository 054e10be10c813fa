-- Open tasks whose time is up, whoever works on them.
SELECT account_id, id
FROM tasks
WHERE finished_at IS NULL AND deadline_at <= now()
LIMIT $1
