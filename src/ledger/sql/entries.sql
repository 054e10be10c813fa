SELECT seq, kind::text, amount, available, held, task_id, note, at
FROM ledger_entries
WHERE account_id = $1 AND seq < $2
ORDER BY seq DESC
LIMIT $3
