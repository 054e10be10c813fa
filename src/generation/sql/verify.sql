-- Where tasks and the ledger disagree; that a task's movements agree among themselves is the
-- ledger's own audit. A live task holds its price; it is settled when it ends and not before, and
-- what it was charged is what was captured. A test task moves nothing. No movement is without its
-- task, and the last entry of each account counts the live tasks that it has open.
SELECT account_id, id, problem
FROM (
    SELECT
        account_id,
        id,
        CASE
            WHEN t.model IS NULL THEN 'the ledger has movements of a task that does not exist'
            WHEN t.test THEN CASE WHEN m.held IS NOT NULL THEN 'a test task has movements' END
            WHEN m.held IS DISTINCT FROM t.quoted
                THEN format('the task was quoted %s and held %s', t.quoted, m.held)
            WHEN t.finished_at IS NULL
                THEN CASE WHEN m.settlements > 0 THEN 'the task is open and was settled' END
            WHEN m.settlements = 0 THEN 'the task has ended and was not settled'
            WHEN m.captured <> t.charged
                THEN format('the task was charged %s and captured %s', t.charged, m.captured)
        END AS problem
    FROM tasks AS t
    FULL JOIN (
        SELECT
            account_id,
            task_id AS id,
            COALESCE(sum(amount) FILTER (WHERE kind = 'HOLD'), 0) AS held,
            COALESCE(sum(amount) FILTER (WHERE kind = 'CAPTURE'), 0) AS captured,
            count(*) FILTER (WHERE kind <> 'HOLD') AS settlements
        FROM ledger_entries
        WHERE task_id IS NOT NULL
        GROUP BY account_id, task_id
    ) AS m USING (account_id, id)
) AS judged
WHERE problem IS NOT NULL
UNION ALL
SELECT account_id, NULL, format('the ledger counts %s open tasks and there are %s', counted.open, found.open)
FROM (
    SELECT DISTINCT ON (account_id) account_id, open
    FROM ledger_entries
    ORDER BY account_id, seq DESC
) AS counted
LEFT JOIN (
    SELECT account_id, count(*) AS open FROM tasks WHERE finished_at IS NULL AND NOT test GROUP BY account_id
) AS found USING (account_id)
WHERE counted.open <> COALESCE(found.open, 0)
ORDER BY account_id, id
LIMIT $1
