INSERT INTO ledger_entries (account_id, seq, kind, amount, available, held, at, note)
VALUES ($1, 1, 'GRANT', $2, $2, 0, clock_timestamp(), $3)
ON CONFLICT DO NOTHING
