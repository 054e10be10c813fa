INSERT INTO ledger_entries (seq, amount, available, held, at, kind, account_id, task_id, note, open)
SELECT e.seq, e.amount, e.available, e.held, $1, e.kind, e.account_id, e.task_id, e.note, e.open
FROM unnest(
    $2::uuid[], $3::bigint[], $4::ledger_kind[], $5::bigint[], $6::bigint[], $7::bigint[], $8::integer[],
    $9::uuid[], $10::text[]
) AS e (account_id, seq, kind, amount, available, held, open, task_id, note)
