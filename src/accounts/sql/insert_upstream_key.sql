-- An account's key for an upstream.
INSERT INTO upstream_keys (account_id, id, upstream, sealed_with, sealed, tail)
VALUES ($1, $2, $3, $4, $5, $6)
RETURNING id, upstream, sealed_with, sealed, tail, created_at
