SELECT role
FROM memberships
WHERE account_id = $1 AND person_id = $2
