WITH current AS (
    SELECT date_trunc('month', $1::timestamptz AT TIME ZONE 'UTC') AS month
)
SELECT accounts.id AS account_id,
       plans.monthly_credits AS credits,
       to_char(current.month, 'YYYY-MM') AS month,
       (current.month + interval '1 month') AT TIME ZONE 'UTC' AS expires_at
FROM current
CROSS JOIN accounts
JOIN plans ON plans.name = accounts.plan
WHERE accounts.id > $2
    AND plans.monthly_credits > 0
    AND NOT EXISTS (
        SELECT FROM monthly_grants
        WHERE monthly_grants.account_id = accounts.id AND monthly_grants.month = current.month::date
    )
ORDER BY accounts.id
LIMIT $3
