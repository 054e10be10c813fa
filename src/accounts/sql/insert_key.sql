INSERT INTO api_keys
    (id, account_id, name, prefix, hash, test, scopes, expires_at, cap_per_hour, cap_per_day, cap_total)
SELECT $1::uuid, $2::uuid, $3::text, $4::text, $5::bytea, $6::boolean, $7::text[], $8::timestamptz,
       $10::bigint, $11::bigint, $12::bigint
WHERE (SELECT count(*) FROM api_keys WHERE account_id = $2 AND revoked_at IS NULL) < $9::bigint
RETURNING id AS key_id, account_id, name AS key_name, prefix, test, scopes,
          created_at AS key_created_at, expires_at, revoked_at,
          cap_per_hour, cap_per_day, cap_total, NULL::timestamptz AS last_used_at
