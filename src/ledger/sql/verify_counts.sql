-- How much there is to verify, and what every ledger account comes to: grants, what tasks cost and what
-- expired by summing movements; available and held by the last entry of each chain. As text, since sums
-- over all accounts may be larger than an account's.
SELECT
    count(*),
    coalesce(sum(entries), 0)::bigint,
    coalesce(sum(granted), 0)::text,
    coalesce(sum(available), 0)::text,
    coalesce(sum(held), 0)::text,
    coalesce(sum(charged), 0)::text,
    coalesce(sum(expired), 0)::text
FROM (
    SELECT
        account_id,
        count(*) AS entries,
        max(seq) AS seq,
        sum(amount) FILTER (WHERE kind = 'GRANT') AS granted,
        sum(amount) FILTER (WHERE kind = 'CAPTURE') AS charged,
        sum(amount) FILTER (WHERE kind = 'EXPIRE') AS expired
    FROM ledger_entries
    GROUP BY account_id
) AS chain
JOIN (SELECT account_id, seq, available, held FROM ledger_entries) AS last USING (account_id, seq)
