DELETE FROM login_links
WHERE account_id = $1 AND (expires_at <= now() OR used_at IS NOT NULL)
