-- Inserts the tasks of accepted submissions.
INSERT INTO tasks (
    created_at, node_id, account_id, id, deadline_at, quoted, key_code, idempotency, test, key_id, media_type, model,
    provider, request, to_webhooks, webhook_url
)
SELECT
    now(), $1, t.account_id, t.id, now() + t.lifetime_ms * interval '1 millisecond', t.quoted, t.key_code,
    t.idempotency, t.test, t.key_id, t.media_type, t.model, t.provider, t.request,
    t.to_webhooks, t.webhook_url
FROM unnest(
    $2::uuid[], $3::uuid[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bytea[], $8::boolean[], $9::uuid[],
    $10::text[], $11::text[], $12::text[], $13::text[], $14::boolean[], $15::text[]
) AS t (
    account_id, id, lifetime_ms, quoted, key_code, idempotency, test, key_id, media_type, model, provider, request,
    to_webhooks, webhook_url
)
