-- How many submissions nobody knows about; those that are listed.
SELECT count(*) AS submissions
FROM lost_submissions AS s
JOIN tasks AS t ON t.account_id = s.account_id AND t.id = s.task_id
WHERE s.verdict IS NULL AND t.finished_at IS NULL AND t.attempt = s.attempt AND t.upstream_id IS NULL
