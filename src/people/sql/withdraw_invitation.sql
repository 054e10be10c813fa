DELETE FROM login_links
WHERE account_id = $1 AND id = $2 AND purpose = 'INVITATION' AND used_at IS NULL
