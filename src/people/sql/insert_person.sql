INSERT INTO people (id, email, password_hash, operator)
VALUES ($1, $2, $3, $4)
