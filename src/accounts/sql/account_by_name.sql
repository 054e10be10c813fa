SELECT id, name, plan, created_at,
       EXISTS (SELECT FROM webhooks AS w WHERE w.account_id = accounts.id AND w.disabled_at IS NULL) AS has_webhooks
FROM accounts
WHERE name = $1
