-- What was captured by a part of an account's chain, by day (UTC, counted from 1970) and by model. A task that
-- delivered has one row here: its capture, or, where a part of what it delivered rounded down to nothing, its release.
-- The limit makes of every entry one look by primary key, whatever the planner thinks of the tables.
SELECT
    (entry.at AT TIME ZONE 'UTC')::date - DATE '1970-01-01' AS day,
    task.model,
    coalesce(sum(entry.amount) FILTER (WHERE entry.kind = 'CAPTURE'), 0)::bigint AS credits,
    count(*) AS tasks
FROM (
    SELECT at, kind, amount, task_id
    FROM ledger_entries
    WHERE account_id = $1 AND seq BETWEEN $2 AND $3 AND kind IN ('CAPTURE', 'RELEASE')
) AS entry
CROSS JOIN LATERAL (
    SELECT model, status, charged FROM tasks WHERE account_id = $1 AND id = entry.task_id LIMIT 1
) AS task
WHERE task.status = 'SUCCESS' AND (entry.kind = 'CAPTURE' OR task.charged = 0)
GROUP BY 1, 2
