-- Takes over open tasks of a dead node, the most urgent first, from a deadline on: each batch goes on
-- where the last one stopped, so that it need not step over what that one took. The node cannot come
-- back meanwhile, since its row is locked; tasks that another node is taking are passed over.
WITH dead AS (
    SELECT id FROM nodes WHERE id = $2 AND lapsed FOR SHARE
), claimed AS (
    SELECT account_id, id
    FROM tasks
    WHERE node_id = (SELECT id FROM dead) AND finished_at IS NULL AND deadline_at >= $3
    ORDER BY deadline_at
    LIMIT $4
    FOR UPDATE SKIP LOCKED
)
UPDATE tasks AS t
SET node_id = $1
FROM claimed AS c
WHERE t.account_id = c.account_id AND t.id = c.id
RETURNING
    t.account_id, t.id, t.test, t.model, t.media_type, t.status, t.progress, t.outputs, t.late_outputs, t.failure,
    t.quoted, t.charged, t.request, t.provider,
    t.created_at, t.started_at, t.finished_at,
    t.attempt, t.upstream_id, t.deadline_at, t.cancel_requested
