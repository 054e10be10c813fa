SELECT ledger_resume($1, $2, $3, $4, $5)
