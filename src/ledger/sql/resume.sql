SELECT ledger_resume($1, $2)
