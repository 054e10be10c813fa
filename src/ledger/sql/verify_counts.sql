SELECT count(*), coalesce(sum(entries), 0)::bigint
FROM (SELECT count(*) AS entries FROM ledger_entries GROUP BY account_id) AS chain
