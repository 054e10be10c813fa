-- The nodes that live, or left something behind; and how many open tasks each has.
SELECT n.id, n.leased_until, n.leased_until > now() AND NOT n.lapsed AS alive, t.tasks
FROM nodes AS n
CROSS JOIN LATERAL (
    SELECT count(*) AS tasks FROM tasks WHERE node_id = n.id AND finished_at IS NULL
) AS t
WHERE t.tasks > 0 OR (n.leased_until > now() AND NOT n.lapsed)
ORDER BY n.id
LIMIT $1
