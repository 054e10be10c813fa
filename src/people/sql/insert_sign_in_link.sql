INSERT INTO login_links (id, hash, purpose, account_id, person_id, expires_at)
VALUES ($1, $2, 'SIGN_IN', $3, $4, $5)
