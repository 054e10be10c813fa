SELECT person_id
FROM memberships
WHERE account_id = $1 AND role = 'OWNER'
ORDER BY created_at, person_id
LIMIT 1
