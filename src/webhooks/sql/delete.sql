DELETE FROM webhooks
WHERE account_id = $1 AND test = $2 AND id = $3
RETURNING id, url, test, created_at, disabled_at
