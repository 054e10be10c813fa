-- Lets go of everything that a node works on, so that others need not wait for its lease to run out,
-- and says so.
WITH released AS (
    UPDATE nodes SET leased_until = now(), lapsed = true WHERE id = $1
)
SELECT pg_notify('piooy_tasks', $2)
