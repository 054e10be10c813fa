SELECT accounts.id, accounts.name, accounts.plan, accounts.created_at,
       EXISTS (SELECT FROM webhooks AS w WHERE w.account_id = accounts.id AND w.disabled_at IS NULL) AS has_webhooks,
       EXISTS (SELECT FROM upstream_keys AS k WHERE k.account_id = accounts.id AND k.replaced_at IS NULL) AS has_upstream_keys,
       plans.submits_per_minute, plans.reads_per_minute, plans.concurrent_tasks, plans.queued_tasks,
       plans.monthly_credits, plans.free_tier_included
FROM accounts
JOIN plans ON plans.name = accounts.plan
WHERE accounts.name = $1
