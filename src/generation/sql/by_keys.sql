-- The tasks that idempotency keys led to, as far back as keys are remembered, and where they were found.
SELECT id, idempotency, key_code FROM tasks_by_keys($1, $2)
