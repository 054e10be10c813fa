-- What the key was used for before.
SELECT change
FROM audit_log
WHERE account_id = $1 AND method = $2 AND idempotency_key = $3
