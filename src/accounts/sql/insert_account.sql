INSERT INTO accounts (id, name, plan, founding)
VALUES ($1, $2, $3, $4)
RETURNING id, name, plan, created_at,
       EXISTS (SELECT FROM webhooks AS w WHERE w.account_id = accounts.id AND w.disabled_at IS NULL) AS has_webhooks,
       EXISTS (SELECT FROM upstream_keys AS k WHERE k.account_id = accounts.id AND k.replaced_at IS NULL) AS has_upstream_keys
