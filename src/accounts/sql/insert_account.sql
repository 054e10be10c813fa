INSERT INTO accounts (id, name, plan, founding)
VALUES ($1, $2, $3, $4)
RETURNING id, name, plan, created_at
