INSERT INTO webhook_secrets AS kept (account_id, test, secret)
VALUES ($1, $2, $3)
ON CONFLICT (account_id, test)
    DO UPDATE SET secret = excluded.secret, before = kept.secret, created_at = now()
RETURNING secret, created_at
