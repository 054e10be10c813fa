SELECT id, email
FROM people
WHERE operator
ORDER BY id
