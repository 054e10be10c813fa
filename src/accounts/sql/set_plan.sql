UPDATE accounts
SET plan = $2
WHERE name = $1
RETURNING id, name, plan, created_at
