-- What an account's live tasks cost, by the day on which they ended (UTC) and by model. The bounds of the ids, which
-- begin with the time of submission, keep it to a stretch of the primary key.
SELECT
    to_char(t.finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day,
    t.model,
    sum(t.charged)::bigint AS credits,
    count(*) AS tasks
FROM tasks AS t
WHERE t.account_id = $1
  AND t.id >= $2 AND t.id < $3
  AND NOT t.test
  AND t.status = 'SUCCESS'
  AND t.finished_at >= $4 AND t.finished_at < $5
GROUP BY 1, 2
ORDER BY 1, 2
