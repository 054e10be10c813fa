-- Webhooks: who is told when a task ends, what is owed to them, and what came of telling them.
--
-- What a task owes is written down by the database in the transaction that ends the task, whoever ends it and
-- why: no end without its deliveries, and no delivery without an end. A task that nobody is to be told of pays
-- nothing for that: two columns that stay NULL, which take no room, and a condition that is looked at once,
-- when it ends.

-- Addresses that an account wants to be told at, of all its tasks.
CREATE TABLE webhooks (
    account_id  uuid        NOT NULL,
    -- UUIDv7.
    id          uuid        NOT NULL,
    -- Made with a test key: it hears of test tasks, as the others hear of live ones.
    test        boolean     NOT NULL,
    url         text        NOT NULL CHECK (char_length(url) BETWEEN 1 AND 2048),
    -- What its messages are signed with: as it is, since a hash could not sign.
    secret      bytea       NOT NULL CHECK (octet_length(secret) = 32),
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- When the receiver said that it is gone.
    disabled_at timestamptz,
    PRIMARY KEY (account_id, id)
);

-- What messages are signed with that go to the address a request itself names. For a day after a new secret was
-- made, the one before signs too.
CREATE TABLE webhook_secrets (
    account_id  uuid        NOT NULL,
    test        boolean     NOT NULL,
    secret      bytea       NOT NULL CHECK (octet_length(secret) = 32),
    before      bytea       CHECK (octet_length(before) = 32),
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, test)
);

-- One message to one address about the end of one task: what is owed, and afterwards the log.
CREATE TABLE webhook_deliveries (
    created_at    timestamptz NOT NULL DEFAULT now(),
    -- When it may be tried next; while it is being tried: when whoever tries it counts as dead, and whose word
    -- counts. NULL: it is over.
    due_at        timestamptz DEFAULT now(),
    attempted_at  timestamptz,
    ended_at      timestamptz,
    -- How often it was, or may have been, sent. Raised before trying.
    attempts      integer     NOT NULL DEFAULT 0,
    -- Attempts since somebody last asked for it: how long to wait for the next.
    round         integer     NOT NULL DEFAULT 0,
    -- The HTTP status of the last answer.
    answer_status integer,
    test          boolean     NOT NULL,
    account_id    uuid        NOT NULL,
    -- UUIDv7, so the primary key also serves the newest-first list.
    id            uuid        NOT NULL,
    task_id       uuid        NOT NULL,
    -- NULL: the request named the address.
    webhook_id    uuid,
    status        text        NOT NULL DEFAULT 'PENDING'
                              CHECK (status IN ('PENDING', 'DELIVERED', 'FAILED', 'CANCELED')),
    url           text        NOT NULL,
    -- Where the address is, as far as the path: whose turns deliveries wait for.
    origin        text        NOT NULL GENERATED ALWAYS AS (substring(url FROM '^[a-z]+://[^/?#]+')) STORED,
    -- The beginning of the last answer, or why there was none.
    answer        text,
    error         text,
    PRIMARY KEY (account_id, id),
    CONSTRAINT webhook_deliveries_pending_is_due CHECK ((status = 'PENDING') = (due_at IS NOT NULL)),
    CONSTRAINT webhook_deliveries_pending_is_open CHECK ((status = 'PENDING') = (ended_at IS NULL))
) WITH (fillfactor = 70);

-- An end is told once to each address; also finds what a task owes.
CREATE UNIQUE INDEX webhook_deliveries_of_task ON webhook_deliveries (account_id, task_id, webhook_id)
    NULLS NOT DISTINCT;
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (origin, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX webhook_deliveries_ended ON webhook_deliveries (ended_at) WHERE ended_at IS NOT NULL;

-- Who is to be told of a task, as it was when the task was accepted.
ALTER TABLE tasks
    -- True: the account had webhooks.
    ADD COLUMN to_webhooks boolean,
    -- The address that the request named.
    ADD COLUMN webhook_url text;

-- A UUIDv7 (RFC 9562 §5.7) of now.
CREATE FUNCTION uuid_of_now() RETURNS uuid
LANGUAGE sql VOLATILE AS $$
    SELECT encode(
        set_bit(
            set_bit(
                overlay(
                    uuid_send(gen_random_uuid())
                    PLACING substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                    FROM 1 FOR 6
                ),
                52, 1
            ),
            53, 1
        ),
        'hex'
    )::uuid
$$;

-- A webhook hears of the tasks that were accepted after it was made, unless it is gone by the end.
CREATE FUNCTION tasks_owe_deliveries() RETURNS trigger
LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    INSERT INTO webhook_deliveries (account_id, id, test, task_id, webhook_id, url)
    SELECT NEW.account_id, uuid_of_now(), NEW.test, NEW.id, told.webhook_id, told.url
    FROM (
        SELECT NULL::uuid AS webhook_id, NEW.webhook_url AS url
        WHERE NEW.webhook_url IS NOT NULL
        UNION ALL
        SELECT w.id, w.url
        FROM webhooks AS w
        WHERE NEW.to_webhooks
          AND w.account_id = NEW.account_id
          AND w.test = NEW.test
          AND w.created_at <= NEW.created_at
          AND w.disabled_at IS NULL
    ) AS told;
    RETURN NULL;
END $$;

CREATE TRIGGER tasks_owe_deliveries AFTER UPDATE OF finished_at ON tasks
    FOR EACH ROW WHEN (num_nonnulls(NEW.to_webhooks, NEW.webhook_url) > 0 AND NEW.finished_at IS NOT NULL)
    EXECUTE FUNCTION tasks_owe_deliveries();

-- Ends tasks as before, and answers whether somebody is to be told.
DROP FUNCTION tasks_finish;
CREATE FUNCTION tasks_finish(
    account_ids uuid[],
    ids uuid[],
    statuses text[],
    charges bigint[],
    results text[],
    failures text[],
    expect_all boolean
) RETURNS TABLE (
    id uuid, test boolean, quoted bigint, charged bigint, key_id uuid, created_at timestamptz, finished_at timestamptz,
    owes boolean
)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    ended bigint;
BEGIN
    RETURN QUERY
    UPDATE tasks AS t
    SET status = a.status,
        progress = CASE WHEN a.status = 'SUCCESS' THEN 100 ELSE t.progress END,
        charged = CASE WHEN t.test THEN 0 ELSE a.charge END,
        outputs = a.outputs,
        failure = a.failure,
        finished_at = now()
    FROM unnest(account_ids, ids, statuses, charges, results, failures)
        AS a (account_id, id, status, charge, outputs, failure)
    WHERE t.account_id = ANY (ARRAY[a.account_id]) AND t.id = a.id AND num_nulls(t.finished_at) = 1
    RETURNING t.id, t.test, t.quoted, t.charged, t.key_id, t.created_at, t.finished_at,
        num_nonnulls(t.to_webhooks, t.webhook_url) > 0;
    GET DIAGNOSTICS ended = ROW_COUNT;
    IF expect_all AND ended <> cardinality(ids) THEN
        RAISE EXCEPTION 'a task had ended' USING ERRCODE = 'serialization_failure';
    END IF;
END $$;
