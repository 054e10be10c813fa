-- A page of an account's tasks, newest first, walking the primary key backwards. Null means: from
-- the newest, with any status, of any media, of any model.
SELECT
    t.account_id, t.id, t.test, t.model, t.media_type, t.status, t.progress, t.outputs, t.late_outputs, t.failure,
    t.quoted, t.charged, t.request, t.provider,
    t.created_at, t.started_at, t.finished_at
FROM tasks AS t
WHERE t.account_id = $1
  AND t.test = $2
  AND t.id < COALESCE($3::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
  AND ($4::text IS NULL OR t.status = $4)
  AND ($5::text IS NULL OR t.media_type = $5)
  AND ($6::text IS NULL OR t.model = $6)
ORDER BY t.id DESC
LIMIT $7
