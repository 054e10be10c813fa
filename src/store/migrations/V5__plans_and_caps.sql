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

-- A task of an account whose plan lets tasks wait has one of the account's turns from its first attempt to
-- its end.
ALTER TABLE tasks ADD COLUMN in_turn boolean NOT NULL DEFAULT false;
CREATE INDEX tasks_in_turn ON tasks (account_id) WHERE in_turn AND finished_at IS NULL;

-- Writes down that upstreams are about to be asked. Answers the tasks for which that holds, and, without a time,
-- those whose account has as many begun as its plan allows at once. Not answered: a task that has ended, is to be
-- canceled, belongs to another node, or has seen another attempt: of two that try the same one, only one goes on.
--
-- The caller holds the locks of the accounts, so turns are exact over all servers.
CREATE FUNCTION tasks_begin(node uuid, account_ids uuid[], ids uuid[], attempts integer[], providers text[])
RETURNS TABLE (id uuid, started_at timestamptz)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    queues uuid[] := ARRAY(
        SELECT account.id
        FROM (SELECT DISTINCT every.id FROM unnest(account_ids) AS every (id)) AS asked
        CROSS JOIN LATERAL (SELECT * FROM accounts WHERE id = asked.id LIMIT 1) AS account
        CROSS JOIN LATERAL (SELECT * FROM plans WHERE name = account.plan LIMIT 1) AS plan
        WHERE plan.queued_tasks > 0
    );
    may boolean[] := array_fill(true, ARRAY[cardinality(ids)]);
    asked record;
    counted_account uuid;
    counted_test boolean;
    taken bigint;
BEGIN
    IF cardinality(queues) > 0 THEN
        FOR asked IN
            SELECT a.ordinal, t.account_id, t.id, t.test, plan.concurrent_tasks AS turns
            FROM unnest(account_ids, ids, attempts) WITH ORDINALITY AS a (account_id, id, attempt, ordinal)
            CROSS JOIN LATERAL (SELECT * FROM tasks WHERE account_id = a.account_id AND id = a.id LIMIT 1) AS t
            CROSS JOIN LATERAL (SELECT * FROM accounts WHERE id = a.account_id LIMIT 1) AS account
            CROSS JOIN LATERAL (SELECT * FROM plans WHERE name = account.plan LIMIT 1) AS plan
            WHERE a.account_id = ANY (queues)
              AND NOT t.in_turn
              AND t.node_id = node
              AND t.attempt = a.attempt - 1
              AND t.finished_at IS NULL
              AND NOT t.cancel_requested
            ORDER BY t.account_id, t.test, a.ordinal
        LOOP
            IF (asked.account_id, asked.test) IS DISTINCT FROM (counted_account, counted_test) THEN
                SELECT count(*) INTO taken
                FROM tasks AS t
                WHERE t.account_id = asked.account_id AND t.in_turn AND t.finished_at IS NULL AND t.test = asked.test;
                counted_account := asked.account_id;
                counted_test := asked.test;
            END IF;
            IF taken < asked.turns THEN
                taken := taken + 1;
            ELSE
                may[asked.ordinal] := false;
                id := asked.id;
                RETURN NEXT;
            END IF;
        END LOOP;
    END IF;
    -- As in tasks_finish: one way only, along the primary key.
    RETURN QUERY
    UPDATE tasks AS t
    SET status = 'PROCESSING',
        attempt = a.attempt,
        provider = a.provider,
        upstream_id = NULL,
        in_turn = t.in_turn OR a.account_id = ANY (queues),
        started_at = coalesce(t.started_at, now())
    FROM unnest(account_ids, ids, attempts, providers, may) AS a (account_id, id, attempt, provider, may)
    WHERE t.account_id = ANY (ARRAY[a.account_id])
      AND t.id = a.id
      AND a.may
      AND num_nulls(t.finished_at) = 1
      AND t.node_id = node
      AND t.attempt = a.attempt - 1
      AND NOT t.cancel_requested
    RETURNING t.id, t.started_at;
END $$;
