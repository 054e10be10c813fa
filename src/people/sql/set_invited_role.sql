UPDATE login_links
SET role = $3
WHERE account_id = $1 AND id = $2 AND purpose = 'INVITATION' AND used_at IS NULL AND expires_at > now()
