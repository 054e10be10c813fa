UPDATE memberships
SET role = $3
WHERE account_id = $1 AND person_id = $2
