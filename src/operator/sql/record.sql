-- Writes a change down; no row when the same key has made this change before.
INSERT INTO audit_log (
    actor_kind, actor_id, actor, method, account_id, account, change, request_id, idempotency_key
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (account_id, method, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
RETURNING number
