SELECT account_id, seq, available, held, open, at FROM ledger_open($1)
