SELECT sessions.person_id, sessions.account_id, memberships.role, sessions.refresh_hash, sessions.before_hash,
       sessions.created_at, sessions.refreshed_at, sessions.expires_at
FROM sessions
JOIN memberships USING (account_id, person_id)
WHERE sessions.id = $1
FOR UPDATE OF sessions
