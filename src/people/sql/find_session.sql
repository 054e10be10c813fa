SELECT sessions.id, sessions.person_id, sessions.account_id, accounts.name AS account, memberships.role,
       people.operator, sessions.expires_at
FROM sessions
JOIN memberships USING (account_id, person_id)
JOIN people ON people.id = sessions.person_id
JOIN accounts ON accounts.id = sessions.account_id
WHERE sessions.id = $1
