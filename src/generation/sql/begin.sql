-- Writes down the intent to ask upstreams, before asking.
SELECT id, started_at FROM tasks_begin($1, $2, $3, $4, $5)
