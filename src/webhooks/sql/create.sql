INSERT INTO webhooks (account_id, id, test, url, secret)
SELECT $1::uuid, $2::uuid, $3::boolean, $4::text, $5::bytea
WHERE (SELECT count(*) FROM webhooks WHERE account_id = $1 AND test = $3) < $6::bigint
RETURNING id, url, test, created_at, disabled_at
