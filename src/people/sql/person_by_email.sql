SELECT id, email, password_hash, operator
FROM people
WHERE lower(email) = lower($1)
