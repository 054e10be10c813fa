-- What a key may spend, how many tasks a plan lets wait, and the credits that a plan gives each month.
--
-- A key's caps are part of what it was made with: the trigger `api_keys_only_revoke` lets nobody change them.

ALTER TABLE api_keys
    ADD COLUMN cap_per_hour bigint CHECK (cap_per_hour >= 0),
    ADD COLUMN cap_per_day  bigint CHECK (cap_per_day >= 0),
    ADD COLUMN cap_total    bigint CHECK (cap_total >= 0);

ALTER TABLE plans
    -- Tasks that may wait beyond those that run at once; 0 refuses them.
    ADD COLUMN queued_tasks    integer NOT NULL DEFAULT 0 CHECK (queued_tasks BETWEEN 0 AND 1000000),
    -- Given on the first of each month (UTC) and gone with its end.
    ADD COLUMN monthly_credits bigint  NOT NULL DEFAULT 0 CHECK (monthly_credits BETWEEN 0 AND 1000000000000);

UPDATE plans SET queued_tasks = 100 WHERE name = 'pro';
UPDATE plans SET queued_tasks = 50 WHERE name = 'unlimited';

-- Which account was given its monthly credits, and for which month. The row is written in the transaction that
-- grants them, so that of all replicas that try, one succeeds.
CREATE TABLE monthly_grants (
    account_id uuid NOT NULL CONSTRAINT monthly_grants_account_known REFERENCES accounts (id),
    month      date NOT NULL CHECK (extract(day FROM month) = 1),
    PRIMARY KEY (account_id, month)
);
