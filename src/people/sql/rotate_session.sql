UPDATE sessions
SET before_hash = refresh_hash, refresh_hash = $2, refreshed_at = $3, expires_at = $4
WHERE id = $1
