UPDATE login_links
SET used_at = now()
WHERE hash = $1 AND purpose = 'INVITATION' AND used_at IS NULL AND expires_at > now()
RETURNING account_id, email, role
