-- Halves the range in which the entry must lie until one number is left: a look by primary key each time.
WITH RECURSIVE search (low, high) AS (
    SELECT 1::bigint, $3::bigint + 1
    UNION ALL
    SELECT
        CASE WHEN entry.at < $2 THEN entry.seq + 1 ELSE search.low END,
        CASE WHEN entry.at < $2 THEN search.high ELSE entry.seq END
    FROM search
    CROSS JOIN LATERAL (
        SELECT seq, at FROM ledger_entries WHERE account_id = $1 AND seq = (search.low + search.high) / 2
    ) AS entry
    WHERE search.low < search.high
)
SELECT low FROM search WHERE low >= high
