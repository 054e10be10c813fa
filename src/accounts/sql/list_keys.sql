SELECT id AS key_id, account_id, name AS key_name, prefix, test, scopes,
       created_at AS key_created_at, expires_at, revoked_at,
       cap_per_hour, cap_per_day, cap_total,
       (SELECT used_at FROM api_key_uses WHERE key_id = api_keys.id) AS last_used_at
FROM api_keys
WHERE account_id = $1
ORDER BY id DESC
LIMIT $2
