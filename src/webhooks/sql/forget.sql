-- Removes some of what was over so many seconds ago.
DELETE FROM webhook_deliveries AS d
USING (
    SELECT account_id, id
    FROM webhook_deliveries
    WHERE ended_at <= now() - make_interval(secs => $1)
    ORDER BY ended_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
) AS old
WHERE d.account_id = old.account_id AND d.id = old.id
