UPDATE accounts
SET plan = $2
FROM (SELECT id, plan FROM accounts WHERE name = $1 FOR NO KEY UPDATE) AS before
WHERE accounts.id = before.id
RETURNING accounts.id, accounts.name, accounts.plan, accounts.created_at, before.plan AS plan_before,
       EXISTS (SELECT FROM webhooks AS w WHERE w.account_id = accounts.id AND w.disabled_at IS NULL) AS has_webhooks,
       EXISTS (SELECT FROM upstream_keys AS k WHERE k.account_id = accounts.id AND k.replaced_at IS NULL) AS has_upstream_keys
