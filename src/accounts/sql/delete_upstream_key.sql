-- Removes an account's key for an upstream, and those that it replaced.
DELETE FROM upstream_keys
WHERE account_id = $1 AND upstream = $2
RETURNING id, upstream, sealed_with, sealed, tail, created_at, replaced_at
