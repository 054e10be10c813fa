SELECT coalesce((SELECT seq FROM ledger_entries WHERE account_id = $1 ORDER BY seq DESC LIMIT 1), 0)
