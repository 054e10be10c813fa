-- Tasks whose movements are not one hold, followed by nothing yet or by one settlement of exactly
-- that much.
SELECT
    account_id,
    task_id,
    format(
        'the task has %s holds of %s, %s captures of %s and %s releases of %s',
        holds, held, captures, captured, releases, released
    )
FROM (
    SELECT
        account_id,
        task_id,
        count(*) FILTER (WHERE kind = 'HOLD') AS holds,
        count(*) FILTER (WHERE kind = 'CAPTURE') AS captures,
        count(*) FILTER (WHERE kind = 'RELEASE') AS releases,
        coalesce(sum(amount) FILTER (WHERE kind = 'HOLD'), 0) AS held,
        coalesce(sum(amount) FILTER (WHERE kind = 'CAPTURE'), 0) AS captured,
        coalesce(sum(amount) FILTER (WHERE kind = 'RELEASE'), 0) AS released
    FROM ledger_entries
    WHERE task_id IS NOT NULL
    GROUP BY account_id, task_id
) AS task
WHERE holds <> 1
    OR captures > 1
    OR releases > 1
    OR (captures + releases > 0 AND captured + released <> held)
LIMIT $1
