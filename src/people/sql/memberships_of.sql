SELECT memberships.account_id, accounts.name AS account, memberships.role
FROM memberships
JOIN accounts ON accounts.id = memberships.account_id
WHERE memberships.person_id = $1
ORDER BY memberships.created_at, memberships.account_id
LIMIT 100
