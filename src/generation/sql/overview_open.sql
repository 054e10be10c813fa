-- Open tasks by upstream and status, along the index of open ones.
SELECT provider, status, count(*) AS tasks, min(created_at) AS oldest
FROM tasks
WHERE finished_at IS NULL
GROUP BY provider, status
ORDER BY provider, status
