SELECT id, email, password_hash, operator
FROM people
WHERE id = $1
