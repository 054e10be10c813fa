-- Entries that do not follow from the one before: their number is not the next, or their balances
-- are not the earlier ones moved by their amount. Differences of balances cannot overflow, since
-- both are zero or more.
SELECT
    account_id,
    task_id,
    format(
        'entry %s (%s %s) leaves %s available and %s held after entry %s left %s and %s',
        seq, kind, amount, available, held, seq_before, available_before, held_before
    )
FROM (
    SELECT
        *,
        lag(seq, 1, 0::bigint) OVER chain AS seq_before,
        lag(available, 1, 0::bigint) OVER chain AS available_before,
        lag(held, 1, 0::bigint) OVER chain AS held_before
    FROM ledger_entries
    WINDOW chain AS (PARTITION BY account_id ORDER BY seq)
) AS walked
WHERE seq <> seq_before + 1
    OR available - available_before
        <> CASE kind
            WHEN 'GRANT' THEN amount
            WHEN 'HOLD' THEN -amount
            WHEN 'CAPTURE' THEN 0
            WHEN 'RELEASE' THEN amount
        END
    OR held - held_before
        <> CASE kind
            WHEN 'GRANT' THEN 0
            WHEN 'HOLD' THEN amount
            WHEN 'CAPTURE' THEN -amount
            WHEN 'RELEASE' THEN -amount
        END
LIMIT $1
