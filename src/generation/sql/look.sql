-- How tasks stand, whoever works on them.
SELECT
    t.account_id, t.id, t.test, t.model, t.media_type, t.status, t.progress, t.outputs, t.late_outputs, t.failure,
    t.quoted, t.charged, t.request -> 'adjustments' AS adjustments, t.provider,
    t.created_at, t.started_at, t.finished_at,
    t.node_id, t.cancel_requested
FROM unnest($1::uuid[], $2::uuid[]) AS a (account_id, id)
JOIN tasks AS t USING (account_id, id)
