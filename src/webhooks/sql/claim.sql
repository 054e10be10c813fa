-- Takes at most $5 deliveries that are due, for $1 milliseconds: a few of each origin ($4, or fewer where $2 and $3
-- say so, which are the origins that some are under way to), of all those the ones that are due longest. It steps
-- from origin to origin along the index, so that one with a long queue costs, and delays, the others nothing. What
-- another server takes right now is passed over.
WITH RECURSIVE place AS (
    (SELECT origin FROM webhook_deliveries WHERE due_at IS NOT NULL ORDER BY origin LIMIT 1)
    UNION ALL
    SELECT next.origin
    FROM place
    CROSS JOIN LATERAL (
        SELECT origin
        FROM webhook_deliveries
        WHERE due_at IS NOT NULL AND origin > place.origin
        ORDER BY origin
        LIMIT 1
    ) AS next
), due AS (
    SELECT d.account_id, d.id
    FROM place
    LEFT JOIN unnest($2::text[], $3::bigint[]) AS busy (origin, room) ON busy.origin = place.origin
    CROSS JOIN LATERAL (
        SELECT account_id, id, due_at
        FROM webhook_deliveries
        WHERE origin = place.origin AND due_at <= now()
        ORDER BY due_at
        LIMIT COALESCE(busy.room, $4::bigint)
        FOR UPDATE SKIP LOCKED
    ) AS d
    ORDER BY d.due_at
    LIMIT $5::bigint
), taken AS (
    UPDATE webhook_deliveries AS d
    SET due_at = now() + $1::bigint * interval '1 millisecond',
        attempted_at = now(),
        attempts = d.attempts + 1,
        round = d.round + 1
    FROM due
    WHERE d.account_id = due.account_id AND d.id = due.id
    RETURNING d.account_id, d.id, d.test, d.task_id, d.webhook_id, d.url, d.origin, d.due_at, d.round
)
SELECT
    taken.*,
    COALESCE(w.secret, s.secret) AS secret,
    CASE WHEN s.created_at > now() - interval '1 day' THEN s.before END AS before
FROM taken
LEFT JOIN webhooks AS w
    ON w.account_id = taken.account_id AND w.id = taken.webhook_id AND w.disabled_at IS NULL
LEFT JOIN webhook_secrets AS s
    ON s.account_id = taken.account_id AND s.test = taken.test AND taken.webhook_id IS NULL
