-- A page of the open tasks that name a node, in the order of the index.
SELECT account_id, id, deadline_at, cancel_requested
FROM tasks
WHERE node_id = $1 AND finished_at IS NULL AND (deadline_at, id) > ($2, $3)
ORDER BY deadline_at, id
LIMIT $4
