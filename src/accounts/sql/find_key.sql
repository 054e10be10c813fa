SELECT api_keys.id AS key_id, api_keys.account_id, api_keys.name AS key_name, api_keys.prefix, api_keys.test,
       api_keys.scopes, api_keys.created_at AS key_created_at, api_keys.expires_at, api_keys.revoked_at,
       api_keys.cap_per_hour, api_keys.cap_per_day, api_keys.cap_total,
       (SELECT used_at FROM api_key_uses WHERE key_id = api_keys.id) AS last_used_at,
       accounts.id, accounts.name, accounts.plan, accounts.created_at,
       EXISTS (SELECT FROM webhooks AS w WHERE w.account_id = accounts.id AND w.disabled_at IS NULL) AS has_webhooks,
       EXISTS (SELECT FROM upstream_keys AS k WHERE k.account_id = accounts.id AND k.replaced_at IS NULL) AS has_upstream_keys,
       plans.submits_per_minute, plans.reads_per_minute, plans.concurrent_tasks, plans.queued_tasks,
       plans.monthly_credits, plans.free_tier_included
FROM api_keys
JOIN accounts ON accounts.id = api_keys.account_id
JOIN plans ON plans.name = accounts.plan
WHERE api_keys.hash = $1
