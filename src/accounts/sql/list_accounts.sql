-- Accounts by name; an empty text is in every name.
SELECT id, name, plan, created_at,
       EXISTS (SELECT FROM webhooks AS w WHERE w.account_id = accounts.id AND w.disabled_at IS NULL) AS has_webhooks,
       EXISTS (SELECT FROM upstream_keys AS k WHERE k.account_id = accounts.id AND k.replaced_at IS NULL) AS has_upstream_keys
FROM accounts
WHERE name > $1 AND strpos(name, $3) > 0
ORDER BY name
LIMIT $2
