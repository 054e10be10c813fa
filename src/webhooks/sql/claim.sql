-- Takes at most $5 deliveries that are due, for $1 milliseconds: a few of each origin ($4, or fewer where $2 and $3
-- say so, which are the origins that some are under way to), of all those the ones that are due longest. It steps
-- from origin to origin along the index, so that one with a long queue costs, and delays, the others nothing: from
-- the one after $6 on, over $7 of them at most. Always answers a row, which tells where it stopped; null: at the end.
-- What another server takes right now is passed over.
WITH RECURSIVE place AS (
    (
        SELECT origin, 1::bigint AS number
        FROM webhook_deliveries
        WHERE due_at IS NOT NULL AND origin > $6::text
        ORDER BY origin
        LIMIT 1
    )
    UNION ALL
    SELECT next.origin, place.number + 1
    FROM place
    CROSS JOIN LATERAL (
        SELECT origin
        FROM webhook_deliveries
        WHERE due_at IS NOT NULL AND origin > place.origin
        ORDER BY origin
        LIMIT 1
    ) AS next
    WHERE place.number < $7::bigint
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
    ) AS d
    ORDER BY d.due_at
    LIMIT $5::bigint
), mine AS (
    SELECT d.account_id, d.id
    FROM due
    JOIN webhook_deliveries AS d ON d.account_id = due.account_id AND d.id = due.id
    -- Once more, since another server may have taken it between the look above and the lock.
    WHERE d.due_at <= now()
    FOR UPDATE OF d SKIP LOCKED
), taken AS (
    UPDATE webhook_deliveries AS d
    SET due_at = now() + $1::bigint * interval '1 millisecond',
        attempted_at = now(),
        attempts = d.attempts + 1,
        round = d.round + 1
    FROM mine
    WHERE d.account_id = mine.account_id AND d.id = mine.id
    RETURNING d.account_id, d.id, d.test, d.task_id, d.webhook_id, d.url, d.origin, d.due_at, d.round
)
SELECT
    walk.stopped_at,
    taken.*,
    COALESCE(w.secret, s.secret) AS secret,
    CASE WHEN s.created_at > now() - interval '1 day' THEN s.before END AS before
FROM (SELECT CASE WHEN count(*) >= $7::bigint THEN max(origin) END AS stopped_at FROM place) AS walk
LEFT JOIN taken ON true
LEFT JOIN webhooks AS w
    ON w.account_id = taken.account_id AND w.id = taken.webhook_id AND w.disabled_at IS NULL
LEFT JOIN webhook_secrets AS s
    ON s.account_id = taken.account_id AND s.test = taken.test AND taken.webhook_id IS NULL
