-- The signing secret of an account's world: that which is there, or this new one.
WITH made AS (
    INSERT INTO webhook_secrets (account_id, test, secret)
    VALUES ($1, $2, $3)
    ON CONFLICT (account_id, test) DO NOTHING
    RETURNING secret, created_at
)
SELECT secret, created_at FROM made
UNION ALL
SELECT secret, created_at FROM webhook_secrets WHERE account_id = $1 AND test = $2
