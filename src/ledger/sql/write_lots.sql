-- Writes an account's lots anew. Null is what never expires.
WITH lots AS (
    SELECT coalesce(lot.expires_at, 'infinity') AS expires_at, sum(lot.remaining)::bigint AS remaining
    FROM unnest($2::timestamptz[], $3::bigint[]) AS lot (expires_at, remaining)
    GROUP BY 1
), gone AS (
    DELETE FROM ledger_lots
    WHERE account_id = $1 AND expires_at NOT IN (SELECT expires_at FROM lots)
)
INSERT INTO ledger_lots (account_id, expires_at, remaining)
SELECT $1, expires_at, remaining FROM lots
ON CONFLICT (account_id, expires_at) DO UPDATE SET remaining = excluded.remaining
