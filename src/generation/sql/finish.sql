-- Ends tasks; answers only what it ended.
SELECT id, test, quoted, charged, key_id, created_at, finished_at, owes
FROM tasks_finish($1, $2, $3, $4, $5, $6, $7)
