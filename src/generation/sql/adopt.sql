-- Open tasks that are a node's own already, with all that it takes to go on with them. LIMIT keeps it
-- to one look-up each.
SELECT
    t.account_id, t.id, t.test, t.model, t.media_type, t.status, t.progress, t.outputs, t.late_outputs, t.failure,
    t.quoted, t.charged, t.request, t.provider,
    t.created_at, t.started_at, t.finished_at,
    t.attempt, t.upstream_id, t.deadline_at, t.cancel_requested
FROM unnest($2::uuid[], $3::uuid[]) AS a (account_id, id)
CROSS JOIN LATERAL (
    SELECT * FROM tasks WHERE account_id = a.account_id AND id = a.id LIMIT 1
) AS t
WHERE t.node_id = $1 AND t.finished_at IS NULL
