INSERT INTO sessions (id, account_id, person_id, refresh_hash, expires_at)
VALUES ($1, $2, $3, $4, $5)
