-- A page of the log, newest first, walking the primary key backwards. Null lets all pass.
SELECT number, at, actor_kind, actor_id, actor, method, account, change, request_id
FROM audit_log
WHERE number < $1
  AND ($2::text IS NULL OR account = $2)
  AND ($3::text IS NULL OR method = $3)
  AND ($4::timestamptz IS NULL OR at >= $4)
  AND ($5::timestamptz IS NULL OR at < $5)
ORDER BY number DESC
LIMIT $6
