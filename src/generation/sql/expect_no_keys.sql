-- Goes on only when none of these idempotency keys led to a task.
SELECT tasks_expect_no_keys($1, $2, $3)
