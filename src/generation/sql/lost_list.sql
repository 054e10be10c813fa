-- A page of the submissions that nobody knows about, oldest task first. Rows whose task has ended or gone on by
-- itself, because its time was up or its node died, are passed over.
SELECT
    s.task_id, s.attempt, s.provider, s.upstream_model, s.since,
    a.name AS account, t.test, t.model, t.quoted, t.deadline_at
FROM lost_submissions AS s
JOIN tasks AS t ON t.account_id = s.account_id AND t.id = s.task_id
JOIN accounts AS a ON a.id = s.account_id
WHERE s.verdict IS NULL
  AND s.task_id > coalesce($1::uuid, '00000000-0000-0000-0000-000000000000')
  AND t.finished_at IS NULL
  AND t.attempt = s.attempt
  AND t.upstream_id IS NULL
ORDER BY s.task_id
LIMIT $2
