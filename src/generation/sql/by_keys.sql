-- The tasks that idempotency keys led to, as far back as keys are remembered.
SELECT id, idempotency FROM tasks_by_keys($1, $2)
