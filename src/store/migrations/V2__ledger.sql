-- The ledger.
SELECT 1;
