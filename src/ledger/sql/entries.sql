-- The range keeps the walk short however few entries pass.
SELECT seq, kind::text, amount, available, held, task_id, note, at
FROM ledger_entries
WHERE account_id = $1
    AND seq <= $2
    AND seq >= $3
    AND (cardinality($4::text[]) = 0 OR kind::text = ANY ($4))
    AND ($5::uuid IS NULL OR task_id = $5)
ORDER BY seq DESC
LIMIT $6
