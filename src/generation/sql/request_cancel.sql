-- Asks for an open task to be stopped. From here on it cannot begin, so whoever finds it PENDING
-- may end it.
UPDATE tasks AS t
SET cancel_requested = true
WHERE t.account_id = $1 AND t.id = $2 AND t.test = $3 AND t.finished_at IS NULL
RETURNING
    t.account_id, t.id, t.test, t.model, t.media_type, t.status, t.progress, t.outputs, t.late_outputs, t.failure,
    t.quoted, t.charged, t.request, t.provider,
    t.created_at, t.started_at, t.finished_at
