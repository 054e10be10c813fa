-- An account's lots in order of expiry, what never expires last. A lot whose time is over and that
-- nobody took away yet is among them.
SELECT remaining, NULLIF(expires_at, 'infinity') AS expires_at
FROM ledger_lots
WHERE account_id = $1
ORDER BY ledger_lots.expires_at
