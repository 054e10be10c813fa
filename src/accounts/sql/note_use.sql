INSERT INTO api_key_uses (key_id, used_at)
VALUES ($1, $2)
ON CONFLICT (key_id) DO UPDATE SET used_at = excluded.used_at
WHERE api_key_uses.used_at < excluded.used_at
