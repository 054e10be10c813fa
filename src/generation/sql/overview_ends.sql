-- How the tasks of the last day ended. Reads what the index by time cannot rule out: little more than that day.
SELECT
    provider, status, coalesce(failure::jsonb ->> 'reason', '') AS reason,
    count(*) FILTER (WHERE finished_at > now() - interval '1 hour') AS last_hour,
    count(*) AS last_day
FROM tasks
WHERE created_at > now() - interval '1 day' AND finished_at IS NOT NULL
GROUP BY 1, 2, 3
ORDER BY 1, 2, 3
