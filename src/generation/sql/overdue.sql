-- Open tasks whose time is up, whoever works on them. The index goes by node, so it steps from node to
-- node along the index; the table of nodes would not do, since it may have forgotten one.
WITH RECURSIVE owner AS (
    (SELECT node_id AS id FROM tasks WHERE finished_at IS NULL ORDER BY node_id LIMIT 1)
    UNION ALL
    SELECT next.id
    FROM owner
    CROSS JOIN LATERAL (
        SELECT node_id AS id
        FROM tasks
        WHERE finished_at IS NULL AND node_id > owner.id
        ORDER BY node_id
        LIMIT 1
    ) AS next
)
SELECT t.account_id, t.id
FROM owner
CROSS JOIN LATERAL (
    SELECT account_id, id
    FROM tasks
    WHERE node_id = owner.id AND finished_at IS NULL AND deadline_at <= now()
    ORDER BY deadline_at
    LIMIT $1
) AS t
LIMIT $1
