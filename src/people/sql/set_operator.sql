UPDATE people
SET operator = $2
WHERE lower(email) = lower($1)
RETURNING id, email
