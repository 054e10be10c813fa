-- Batches decide in the server and write in one transaction: what a batch of submissions and endings
-- comes to is worked out in memory (`ledger::Chains`, `generation::records`), under the locks, from
-- the last entries of its accounts. So the functions that decided here go, and what remains is
-- written by plain inserts.

DROP FUNCTION submit_tasks, finish_tasks, ledger_hold, ledger_settle, ledger_grant, ledger_last;
DROP AGGREGATE ledger_remaining(bigint, bigint);
DROP FUNCTION ledger_take;

-- Credits that were granted until a day and not spent by then: available → expired.
ALTER TYPE ledger_kind ADD VALUE 'EXPIRE';

-- An entry also counts the account's open tasks, so that the limit of the plan costs one look at the
-- last entry, however many are open. Rows of tasks stay free of NULLs and fit 112 bytes.
ALTER TABLE ledger_entries ADD COLUMN open integer;
ALTER TABLE ledger_entries DISABLE TRIGGER ledger_entries_are_final;
UPDATE ledger_entries AS entry
SET open = counted.open
FROM (
    SELECT
        account_id,
        seq,
        (count(*) FILTER (WHERE kind = 'HOLD') OVER earlier
            - count(*) FILTER (WHERE kind <> 'HOLD' AND task_id IS NOT NULL AND nth = 1) OVER earlier
        )::integer AS open
    FROM (
        SELECT
            *,
            row_number() OVER (PARTITION BY account_id, task_id, kind = 'HOLD' ORDER BY seq) AS nth
        FROM ledger_entries
    ) AS entry
    WINDOW earlier AS (PARTITION BY account_id ORDER BY seq)
) AS counted
WHERE entry.account_id = counted.account_id AND entry.seq = counted.seq;
ALTER TABLE ledger_entries ENABLE ALWAYS TRIGGER ledger_entries_are_final;
ALTER TABLE ledger_entries
    ALTER COLUMN open SET NOT NULL,
    ADD CONSTRAINT ledger_open_not_negative CHECK (open >= 0),
    DROP CONSTRAINT ledger_tasks_move_all_but_grants,
    ADD CONSTRAINT ledger_tasks_hold_and_settle
        CHECK ((kind IN ('HOLD', 'CAPTURE', 'RELEASE')) = (task_id IS NOT NULL));

CREATE OR REPLACE VIEW ledger_legs AS
SELECT
    entry.account_id,
    entry.seq,
    leg.side,
    leg.ledger_account,
    entry.amount,
    entry.task_id,
    entry.at
FROM ledger_entries AS entry
JOIN (VALUES
    ('GRANT', 'DEBIT', 'grants'), ('GRANT', 'CREDIT', 'available'),
    ('HOLD', 'DEBIT', 'available'), ('HOLD', 'CREDIT', 'held'),
    ('CAPTURE', 'DEBIT', 'held'), ('CAPTURE', 'CREDIT', 'revenue'),
    ('RELEASE', 'DEBIT', 'held'), ('RELEASE', 'CREDIT', 'available'),
    ('EXPIRE', 'DEBIT', 'available'), ('EXPIRE', 'CREDIT', 'expired')
) AS leg (kind, side, ledger_account) ON leg.kind = entry.kind::text;

-- The number, balances and open tasks of the last entry of each of `accounts`; zeros where there is
-- none.
--
-- One index look-up for each account. The setting keeps it so: a plan made while the journal was a
-- page long would read all of it, and a connection keeps its plans while the journal grows.
CREATE FUNCTION ledger_last(accounts uuid[])
RETURNS TABLE (account_id uuid, seq bigint, available bigint, held bigint, open integer)
LANGUAGE plpgsql STABLE ROWS 100 SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY
    SELECT
        account.id,
        coalesce(entry.seq, 0),
        coalesce(entry.available, 0),
        coalesce(entry.held, 0),
        coalesce(entry.open, 0)
    FROM unnest(accounts) AS account (id)
    LEFT JOIN LATERAL (
        SELECT last.seq, last.available, last.held, last.open FROM ledger_entries AS last
        WHERE last.account_id = account.id ORDER BY last.seq DESC LIMIT 1
    ) AS entry ON true;
END $$;

-- Makes the caller the only writer to the chains of `accounts` until its transaction ends, and
-- answers where each ends and when the transaction began.
CREATE FUNCTION ledger_open(accounts uuid[])
RETURNS TABLE (account_id uuid, seq bigint, available bigint, held bigint, open integer, at timestamptz)
LANGUAGE plpgsql ROWS 100 AS $$
BEGIN
    PERFORM ledger_lock(accounts);
    -- A statement of its own: it sees what was committed before the locks were granted.
    RETURN QUERY SELECT last.*, now() FROM ledger_last(accounts) AS last;
END $$;

-- The same for a caller who remembers where the chains ended: only checks that none went on since, and
-- answers when the transaction began. Otherwise the transaction is over.
CREATE FUNCTION ledger_resume(accounts uuid[], seqs bigint[]) RETURNS timestamptz
LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    PERFORM ledger_lock(accounts);
    PERFORM FROM unnest(accounts, seqs) AS remembered (account_id, seq)
    WHERE EXISTS (
        SELECT FROM ledger_entries AS entry
        WHERE entry.account_id = remembered.account_id AND entry.seq > remembered.seq
    );
    IF FOUND THEN
        RAISE EXCEPTION 'a chain went on' USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN now();
END $$;

-- Credits that expire, by the day they do: what was left of them when credits were last granted to
-- the account or expired. In between, credits are spent in order of expiry, so what is left of each
-- now follows from what is available now. The row at infinity is what never expires.
CREATE TABLE ledger_lots (
    account_id uuid        NOT NULL,
    expires_at timestamptz NOT NULL,
    remaining  bigint      NOT NULL CHECK (remaining >= 0),
    PRIMARY KEY (account_id, expires_at)
);

CREATE INDEX ledger_lots_by_expiry ON ledger_lots (expires_at) WHERE expires_at <> 'infinity';

-- Tasks, laid out anew: fixed widths first, so that nothing is padded; JSON as text, since it is read
-- back whole and only by us; the idempotency key with the task that it led to, since a row and an
-- index of its own would be a third of a submission's WAL.
ALTER TABLE tasks RENAME TO tasks_before;
ALTER INDEX tasks_pkey RENAME TO tasks_before_pkey;
DROP INDEX tasks_open;

CREATE TABLE tasks (
    created_at timestamptz NOT NULL,
    deadline_at timestamptz NOT NULL,
    quoted bigint NOT NULL,
    -- Where an idempotency key is found: the week it was used in, then 47 bits of its hash. So the
    -- index grows in one place a week at a time, however random keys are, and old weeks lie still.
    key_code bigint,
    started_at timestamptz,
    finished_at timestamptz,
    charged bigint,
    -- How many times an upstream was, or may have been, asked to do the work. Raised before asking.
    attempt integer NOT NULL DEFAULT 0,
    progress smallint NOT NULL DEFAULT 0,
    -- Made with a test key: no credits move.
    test boolean NOT NULL,
    cancel_requested boolean NOT NULL DEFAULT false,
    account_id uuid NOT NULL,
    -- UUIDv7: in order of creation, so the primary key also serves the newest-first list.
    id uuid NOT NULL,
    -- Whose word counts about the task as long as it is open.
    node_id uuid NOT NULL,
    -- The API key that was shown; none for a token.
    key_id uuid,
    status text NOT NULL DEFAULT 'PENDING',
    media_type text NOT NULL,
    model text NOT NULL,
    -- The provider of the current attempt, or of the first one to come.
    provider text NOT NULL,
    -- JSON: the prompt, the fitted values, the seed, the paths of the reference images; never their
    -- bytes.
    request text NOT NULL,
    -- Hashes of the idempotency key (with account and world) and of what was asked, 12 bytes each.
    idempotency bytea,
    -- The upstream's own id for the current attempt; an attempt without one may or may not have
    -- reached the upstream.
    upstream_id text,
    -- JSON.
    outputs text,
    -- JSON.
    failure text,
    PRIMARY KEY (account_id, id),
    CONSTRAINT tasks_charge_fits CHECK (charged BETWEEN 0 AND quoted),
    -- One rule for all that hangs on the status, as short as it can be: the server reads the rules of a
    -- table anew for every statement.
    CONSTRAINT tasks_are_as_their_status_says CHECK (
        status IN ('PENDING', 'PROCESSING', 'SUCCESS', 'FAILED', 'CANCELED')
        AND (status = 'PENDING') = (attempt = 0 AND finished_at IS NULL)
        AND (finished_at IS NULL) = (status IN ('PENDING', 'PROCESSING'))
        AND (attempt = 0) = (started_at IS NULL)
        AND (finished_at IS NULL) = (charged IS NULL)
        AND (status = 'SUCCESS') = (outputs IS NOT NULL)
        AND (status = 'FAILED') = (failure IS NOT NULL)
        AND (outputs IS NULL OR attempt > 0)
        AND (charged > 0 AND (test OR outputs IS NULL)) IS NOT TRUE
    )
-- A task is written again when its attempt begins and when the upstream has it: room for that in the
-- same page spares every index.
) WITH (fillfactor = 40);

INSERT INTO tasks (
    created_at, deadline_at, quoted, key_code, started_at, finished_at, charged, attempt, progress, test,
    cancel_requested, account_id, id, node_id, status, media_type, model, provider, request, idempotency,
    upstream_id, outputs, failure
)
SELECT
    t.created_at, t.deadline_at, t.quoted,
    -- Weeks of 604,800 seconds since 1970.
    (floor(extract(epoch FROM t.created_at) / 604800)::bigint << 47)
        | (('x' || encode(substr(k.hash, 1, 8), 'hex'))::bit(64)::bigint & 140737488355327),
    t.started_at, t.finished_at, t.charged, t.attempt, t.progress, t.test,
    t.cancel_requested, t.account_id, t.id, t.node_id, t.status, t.media_type, t.model, t.provider, t.request::text,
    substr(k.hash, 1, 12) || substr(k.request_hash, 1, 12),
    t.upstream_id, nullif(t.outputs, '[]')::text, t.failure::text
FROM tasks_before AS t
LEFT JOIN (
    SELECT *, sha256(
        decode(replace(account_id::text, '-', ''), 'hex')
            || CASE WHEN test THEN '\x01'::bytea ELSE '\x00'::bytea END
            || convert_to(key, 'UTF8')
    ) AS hash
    FROM idempotency_keys
) AS k ON k.account_id = t.account_id AND k.task_id = t.id;

DROP TABLE tasks_before, idempotency_keys;

-- For deadlines and for what a dead node left. Neither column changes while a node works, so progress
-- and attempts are written without touching an index.
CREATE INDEX tasks_open ON tasks (node_id, deadline_at) WHERE finished_at IS NULL;
-- For the limit on concurrent tasks in the world of test keys, whose tasks are not in the ledger.
CREATE INDEX tasks_open_tests ON tasks (account_id) WHERE test AND finished_at IS NULL;
CREATE INDEX tasks_by_key ON tasks (key_code) WHERE key_code IS NOT NULL;

-- Which moves a task may make is one condition without a function, for the same reason;
-- generation::Status::after is the same table.
DROP FUNCTION task_may_move;
CREATE TRIGGER tasks_move_by_the_rule BEFORE UPDATE ON tasks
    FOR EACH ROW WHEN (
        OLD.finished_at IS NOT NULL
        OR (OLD.status = 'PENDING' AND NEW.status = 'SUCCESS')
        OR (OLD.status = 'PROCESSING' AND NEW.status = 'PENDING')
    )
    EXECUTE FUNCTION tasks_refuse_move();

-- The functions below never scan a whole table or index, though a plan that was made while the table was
-- small would: hence their settings. And hence the odd conditions of those that write: they leave one way
-- only, from each row that is asked for to its place in the primary key. Written plainly, they would also
-- allow a walk along all open tasks (`finished_at IS NULL` is an index) or along the primary key (a
-- condition by which two tables could be merged).

-- The tasks that idempotency keys led to within so many seconds. `bits` are 47 of the hash of each;
-- several keys may share them, so whoever asks compares the hashes.
CREATE FUNCTION tasks_by_keys(bits bigint[], lifetime_seconds double precision)
RETURNS TABLE (id uuid, idempotency bytea)
LANGUAGE plpgsql STABLE ROWS 10 SET enable_seqscan = off AS $$
DECLARE
    since timestamptz := now() - make_interval(secs => lifetime_seconds);
    weeks bigint[] := ARRAY[
        floor(extract(epoch FROM since) / 604800)::bigint, floor(extract(epoch FROM now()) / 604800)::bigint
    ];
    codes bigint[] := ARRAY(
        SELECT (week << 47) | bit
        FROM unnest(bits) AS bit, generate_series(weeks[1], weeks[2]) AS week
    );
BEGIN
    RETURN QUERY
    SELECT t.id, t.idempotency FROM tasks AS t
    WHERE t.key_code = ANY (codes) AND t.created_at > since;
END $$;

-- Checks that none of these keys led to a task within so many seconds, and what week it is.
-- Otherwise the transaction is over.
CREATE FUNCTION tasks_expect_no_keys(bits bigint[], lifetime_seconds double precision, week bigint)
RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM tasks_by_keys(bits, lifetime_seconds);
    IF FOUND OR week <> floor(extract(epoch FROM now()) / 604800) THEN
        RAISE EXCEPTION 'a key was used before' USING ERRCODE = 'serialization_failure';
    END IF;
END $$;

-- Ends tasks that are still open; answers those that it ended. A charge counts for live tasks. If all are
-- expected to be open and one is not, the transaction is over.
CREATE FUNCTION tasks_finish(
    account_ids uuid[],
    ids uuid[],
    statuses text[],
    charges bigint[],
    results text[],
    failures text[],
    expect_all boolean
) RETURNS TABLE (
    id uuid, test boolean, quoted bigint, charged bigint, key_id uuid, created_at timestamptz, finished_at timestamptz
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
    RETURNING t.id, t.test, t.quoted, t.charged, t.key_id, t.created_at, t.finished_at;
    GET DIAGNOSTICS ended = ROW_COUNT;
    IF expect_all AND ended <> cardinality(ids) THEN
        RAISE EXCEPTION 'a task had ended' USING ERRCODE = 'serialization_failure';
    END IF;
END $$;

-- Records upstreams' ids for attempts. Whoever knows one may write it, for the sake of whoever works
-- on the task by now.
CREATE FUNCTION tasks_arrive(account_ids uuid[], ids uuid[], attempts integer[], upstream_ids text[])
RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    UPDATE tasks AS t
    SET upstream_id = a.upstream_id
    FROM unnest(account_ids, ids, attempts, upstream_ids) AS a (account_id, id, attempt, upstream_id)
    WHERE t.account_id = ANY (ARRAY[a.account_id])
      AND t.id = a.id
      AND t.attempt = a.attempt
      AND num_nulls(t.finished_at) = 1;
END $$;

-- What keys with a spending cap have spent: the prices of the tasks they submitted, less what those
-- gave back, in the hour and on the day (UTC) of the last one and in all. Written under the lock of
-- the account.
CREATE TABLE key_spending (
    key_id     uuid        PRIMARY KEY,
    account_id uuid        NOT NULL,
    hour       timestamptz NOT NULL,
    in_hour    bigint      NOT NULL CHECK (in_hour >= 0),
    day        timestamptz NOT NULL,
    in_day     bigint      NOT NULL CHECK (in_day >= 0),
    in_all     bigint      NOT NULL CHECK (in_all >= 0)
) WITH (fillfactor = 50);
