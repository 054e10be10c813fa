-- Tells the other nodes.
SELECT pg_notify('piooy_tasks', $1)
