UPDATE login_links
SET used_at = now()
WHERE hash = $1 AND purpose = 'SIGN_IN' AND used_at IS NULL AND expires_at > now()
RETURNING account_id, person_id
