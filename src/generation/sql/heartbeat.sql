-- Renews a node's lease, and with it the lease of every task that names the node; answers what
-- those are.
WITH renewed AS (
    INSERT INTO nodes (id, leased_until)
    VALUES ($1, now() + $2 * interval '1 millisecond')
    ON CONFLICT (id) DO UPDATE SET leased_until = excluded.leased_until
)
SELECT id, cancel_requested
FROM tasks
WHERE node_id = $1 AND finished_at IS NULL
