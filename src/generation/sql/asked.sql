-- What was asked of tasks, in the world of test keys or in that of live ones.
SELECT t.id, t.model, t.request
FROM tasks AS t
WHERE t.account_id = $1 AND t.id = ANY ($2) AND t.test = $3
