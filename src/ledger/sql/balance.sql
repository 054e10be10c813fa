SELECT available, held FROM ledger_last(ARRAY[$1::uuid])
