-- Takes over open tasks that nobody works on: those of nodes whose lease is over, and those of this
-- node that it does not know of, because the answer to their submission was lost. Rows that another
-- node is taking are passed over.
WITH claimed AS (
    SELECT account_id, id
    FROM tasks
    WHERE finished_at IS NULL
      AND (
          node_id IN (SELECT n.id FROM nodes AS n WHERE n.leased_until <= now())
          OR (node_id = $1 AND id NOT IN (SELECT unnest($2::uuid[])))
      )
    ORDER BY deadline_at
    LIMIT $3
    FOR UPDATE SKIP LOCKED
)
UPDATE tasks AS t
SET node_id = $1
FROM claimed AS c
WHERE t.account_id = c.account_id AND t.id = c.id
RETURNING
    t.account_id, t.id, t.test, t.model, t.media_type, t.status, t.progress, t.outputs, t.failure,
    t.quoted, t.charged, t.request, t.provider,
    t.created_at, t.started_at, t.finished_at,
    t.attempt, t.upstream_id, t.deadline_at, t.cancel_requested
