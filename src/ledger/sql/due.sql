-- Accounts that have credits whose time is over.
SELECT DISTINCT account_id FROM ledger_lots WHERE expires_at <= now() AND expires_at <> 'infinity' LIMIT $1
