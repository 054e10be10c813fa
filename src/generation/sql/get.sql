-- One task, in the world of test keys or in that of live ones.
SELECT
    t.account_id, t.id, t.test, t.model, t.media_type, t.status, t.progress, t.outputs, t.late_outputs, t.failure,
    t.quoted, t.charged, t.request, t.provider,
    t.created_at, t.started_at, t.finished_at
FROM tasks AS t
WHERE t.account_id = $1 AND t.id = $2 AND t.test = $3
