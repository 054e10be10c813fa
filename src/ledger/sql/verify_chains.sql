-- Entries that do not follow from the one before: their number is not the next, or their balances
-- are not the earlier ones moved by their amount, or the open tasks are not the earlier ones with one
-- more for a hold, and one less, or none less, for a settlement. Differences cannot overflow, since
-- all are zero or more.
SELECT
    account_id,
    task_id,
    format(
        'entry %s (%s %s) leaves %s available, %s held and %s open after entry %s left %s, %s and %s',
        seq, kind, amount, available, held, open, seq_before, available_before, held_before, open_before
    )
FROM (
    SELECT
        *,
        lag(seq, 1, 0::bigint) OVER chain AS seq_before,
        lag(available, 1, 0::bigint) OVER chain AS available_before,
        lag(held, 1, 0::bigint) OVER chain AS held_before,
        lag(open, 1, 0) OVER chain AS open_before
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
            WHEN 'EXPIRE' THEN -amount
        END
    OR held - held_before
        <> CASE kind
            WHEN 'HOLD' THEN amount
            WHEN 'CAPTURE' THEN -amount
            WHEN 'RELEASE' THEN -amount
            ELSE 0
        END
    OR open - open_before NOT BETWEEN
        CASE WHEN kind IN ('CAPTURE', 'RELEASE') THEN -1 WHEN kind = 'HOLD' THEN 1 ELSE 0 END
        AND CASE WHEN kind = 'HOLD' THEN 1 ELSE 0 END
LIMIT $1
