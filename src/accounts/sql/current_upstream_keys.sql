-- The keys that an account has for upstreams now, by upstream.
SELECT id, upstream, sealed_with, sealed, tail, created_at
FROM upstream_keys
WHERE account_id = $1 AND replaced_at IS NULL
ORDER BY upstream
