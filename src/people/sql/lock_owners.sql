SELECT person_id
FROM memberships
WHERE account_id = $1 AND role = 'OWNER'
ORDER BY person_id
FOR UPDATE
