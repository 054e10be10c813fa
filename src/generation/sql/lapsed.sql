-- Declares the leases over that have run out, and answers the nodes which left open tasks behind. A
-- node that is renewing its lease right now is passed over.
WITH declared AS (
    UPDATE nodes
    SET lapsed = true
    WHERE id IN (
        SELECT id FROM nodes WHERE NOT lapsed AND leased_until <= now() FOR UPDATE SKIP LOCKED
    )
    RETURNING id
), dead AS (
    SELECT id FROM nodes WHERE lapsed
    UNION
    SELECT id FROM declared
)
SELECT d.id
FROM dead AS d
CROSS JOIN LATERAL (
    SELECT FROM tasks WHERE node_id = d.id AND finished_at IS NULL LIMIT 1
) AS something
