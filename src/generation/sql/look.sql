-- How tasks stand, whoever works on them. One look-up each, also by a plan that was made while the
-- table was small: LIMIT keeps it from becoming a join with the whole.
SELECT
    t.account_id, t.id, t.test, t.model, t.media_type, t.status, t.progress, t.outputs, t.late_outputs, t.failure,
    t.quoted, t.charged, t.request, t.provider,
    t.created_at, t.started_at, t.finished_at,
    t.node_id, t.cancel_requested
FROM unnest($1::uuid[], $2::uuid[]) AS a (account_id, id)
CROSS JOIN LATERAL (
    SELECT * FROM tasks WHERE account_id = a.account_id AND id = a.id LIMIT 1
) AS t
