SELECT available, held FROM ledger_grant($1, $2, $3)
