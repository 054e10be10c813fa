SELECT people.id, people.email, memberships.role, memberships.created_at AS joined_at,
       NULL::timestamptz AS invited_until
FROM memberships
JOIN people ON people.id = memberships.person_id
WHERE memberships.account_id = $1
UNION ALL
SELECT id, email, role, NULL::timestamptz, expires_at
FROM login_links
WHERE account_id = $1 AND purpose = 'INVITATION' AND used_at IS NULL AND expires_at > now()
ORDER BY joined_at, invited_until, id
LIMIT $2
