SELECT id, url, test, created_at, disabled_at
FROM webhooks
WHERE account_id = $1 AND test = $2
ORDER BY id DESC
