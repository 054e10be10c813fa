-- What accounts have available, at most, since tasks gave credits back: what of that is more than their
-- lots come to never expires. Accounts of which nothing expires have no lots.
UPDATE ledger_lots AS never
SET remaining = never.remaining + given.available - lots.remaining
FROM unnest($1::uuid[], $2::bigint[]) AS given (account_id, available)
CROSS JOIN LATERAL (
    SELECT sum(remaining)::bigint AS remaining FROM ledger_lots WHERE account_id = given.account_id
) AS lots
WHERE never.account_id = given.account_id
  AND never.expires_at = 'infinity'
  AND given.available > lots.remaining
