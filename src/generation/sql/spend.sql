-- Writes what keys have spent, under the locks of their accounts.
INSERT INTO key_spending AS k (key_id, account_id, hour, in_hour, day, in_day, in_all)
SELECT * FROM unnest(
    $1::uuid[], $2::uuid[], $3::timestamptz[], $4::bigint[], $5::timestamptz[], $6::bigint[], $7::bigint[]
)
ON CONFLICT (key_id) DO UPDATE SET
    hour = excluded.hour,
    in_hour = excluded.in_hour,
    day = excluded.day,
    in_day = excluded.in_day,
    in_all = excluded.in_all
