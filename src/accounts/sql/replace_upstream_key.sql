-- Makes room for another key. What was replaced longer ago than any task lasts goes.
WITH old AS (
    DELETE FROM upstream_keys WHERE account_id = $1 AND replaced_at < now() - interval '2 days'
)
UPDATE upstream_keys
SET replaced_at = now()
WHERE account_id = $1 AND upstream = $2 AND replaced_at IS NULL
