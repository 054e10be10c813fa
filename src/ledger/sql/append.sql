INSERT INTO ledger_entries (seq, amount, available, held, at, kind, account_id, task_id, note, open)
SELECT
    e.seq, e.amount, e.available, e.held, clock_timestamp(), e.kind, e.account_id, e.task_id, coalesce(e.note, ''), e.open
FROM unnest(
    $1::uuid[], $2::bigint[], $3::ledger_kind[], $4::bigint[], $5::bigint[], $6::bigint[], $7::integer[],
    $8::uuid[], $9::text[]
) AS e (account_id, seq, kind, amount, available, held, open, task_id, note)
