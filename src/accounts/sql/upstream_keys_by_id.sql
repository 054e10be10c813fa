-- Those of an account's keys for upstreams that are still there, replaced ones too.
SELECT id, upstream, sealed_with, sealed, tail, created_at
FROM upstream_keys
WHERE account_id = $1 AND id = ANY ($2)
