-- Open tasks in the world of test keys, by account.
SELECT account_id, count(*)
FROM tasks
WHERE account_id = ANY ($1) AND test AND finished_at IS NULL
GROUP BY account_id
