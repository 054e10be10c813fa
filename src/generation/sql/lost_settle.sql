-- Gives the operator's word on a submission. A transaction's time is the one that it writes down.
SELECT
    s.account_id, a.name AS account, s.verdict, s.upstream_id, s.settled_at, s.refused,
    coalesce(s.refused IS NULL AND s.settled_at = now(), false) AS is_first
FROM lost_submissions_settle($1, $2, $3, $4, $5) AS s
JOIN accounts AS a ON a.id = s.account_id
