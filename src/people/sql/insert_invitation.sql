INSERT INTO login_links (id, hash, purpose, account_id, email, role, expires_at)
SELECT $1::uuid, $2::bytea, 'INVITATION', $3::uuid, $4::text, $5::text, $6::timestamptz
WHERE (SELECT count(*) FROM memberships WHERE account_id = $3)
    + (SELECT count(*) FROM login_links WHERE account_id = $3 AND purpose = 'INVITATION') < $7::bigint
