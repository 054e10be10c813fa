-- Renews a node's lease, and with it the lease of every task that names the node, unless the lease has
-- been declared over: then the node's tasks may be others' by now. Also answers whether there
-- are other nodes (for a while also one that has ended: it may still have those who watch) and which of
-- this node's tasks are to be canceled.
WITH renewed AS (
    UPDATE nodes
    SET leased_until = now() + $2 * interval '1 millisecond'
    WHERE id = $1 AND NOT lapsed
    RETURNING id
)
SELECT
    EXISTS (SELECT FROM renewed) AS renewed,
    EXISTS (SELECT FROM nodes WHERE id <> $1 AND leased_until > now() - interval '1 minute') AS company,
    ARRAY(
        SELECT id FROM tasks WHERE node_id = $1 AND cancel_requested AND finished_at IS NULL
    ) AS canceling
