SELECT id
FROM api_keys
WHERE id = ANY($1) AND revoked_at IS NOT NULL
