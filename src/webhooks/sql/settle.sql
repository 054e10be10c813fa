-- Writes down what came of attempts, but for those that were claimed, or asked for, anew since; disables the webhooks
-- whose receivers are gone. A wait is until the next attempt; none: it is over.
WITH told AS (
    SELECT *
    FROM unnest(
        $1::uuid[], $2::uuid[], $3::timestamptz[], $4::text[], $5::bigint[], $6::integer[], $7::text[], $8::text[],
        $9::uuid[]
    ) AS t (account_id, id, leased_until, status, wait_ms, answer_status, answer, error, gone)
), disabled AS (
    UPDATE webhooks AS w
    SET disabled_at = now()
    FROM told
    WHERE w.account_id = told.account_id AND w.id = told.gone AND w.disabled_at IS NULL
)
UPDATE webhook_deliveries AS d
SET status = told.status,
    due_at = now() + told.wait_ms * interval '1 millisecond',
    ended_at = CASE WHEN told.wait_ms IS NULL THEN now() END,
    answer_status = told.answer_status,
    answer = told.answer,
    error = told.error
FROM told
WHERE d.account_id = told.account_id
  AND d.id = told.id
  AND d.due_at = told.leased_until
