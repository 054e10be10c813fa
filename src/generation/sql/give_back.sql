-- Takes credits that tasks gave back off what their keys have spent: in all, and in the hour and on the
-- day that still count if they were spent in those.
UPDATE key_spending AS k
SET in_hour = k.in_hour - given.in_hour,
    in_day = k.in_day - given.in_day,
    in_all = k.in_all - given.in_all
FROM (
    SELECT
        key_id,
        coalesce(sum(credits) FILTER (WHERE spent_at >= spending.hour), 0) AS in_hour,
        coalesce(sum(credits) FILTER (WHERE spent_at >= spending.day), 0) AS in_day,
        sum(credits) AS in_all
    FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[]) AS given (key_id, credits, spent_at)
    JOIN key_spending AS spending USING (key_id)
    GROUP BY key_id
) AS given
WHERE k.key_id = given.key_id
