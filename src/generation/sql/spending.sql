-- What keys have spent.
SELECT key_id, hour, in_hour, day, in_day, in_all FROM key_spending WHERE key_id = ANY ($1)
