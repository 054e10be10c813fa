INSERT INTO monthly_grants (account_id, month)
VALUES ($1, to_date($2, 'YYYY-MM'))
ON CONFLICT DO NOTHING
