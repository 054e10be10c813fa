-- Inserts the tasks of accepted submissions.
INSERT INTO tasks (
    created_at, node_id, account_id, id, deadline_at, quoted, key_code, idempotency, test, key_id, media_type, model,
    provider, request
)
SELECT
    $1, $2, t.account_id, t.id, t.deadline_at, t.quoted, t.key_code, t.idempotency, t.test, t.key_id, t.media_type,
    t.model, t.provider, t.request
FROM unnest(
    $3::uuid[], $4::uuid[], $5::timestamptz[], $6::bigint[], $7::bigint[], $8::bytea[], $9::boolean[], $10::uuid[],
    $11::text[], $12::text[], $13::text[], $14::text[]
) AS t (
    account_id, id, deadline_at, quoted, key_code, idempotency, test, key_id, media_type, model, provider, request
)
