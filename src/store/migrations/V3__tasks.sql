-- Tasks: what was asked, how it stands, what came of it and what it cost; the nodes that work on
-- them; the idempotency keys that lead to them. The money itself moves in the ledger, inside the
-- two functions at the end, and nowhere else.
--
-- Lock order, for everything here that locks more than one row: accounts first, by one call of
-- ledger_lock, then tasks. Statements that take several task rows without their accounts skip the
-- locked ones, so they never wait while they hold a lock. No foreign keys: on hot tables they cost
-- more than the rest; generation::verify audits what they would promise.

-- One row per running server process. Its lease covers every task that names it, so renewing is one
-- small write however many tasks the node has.
CREATE TABLE nodes (
    id uuid PRIMARY KEY,
    leased_until timestamptz NOT NULL
);

CREATE TABLE tasks (
    account_id uuid NOT NULL,
    -- UUIDv7: in order of creation, so the primary key also serves the newest-first list.
    id uuid NOT NULL,
    -- Made with a test key: no credits move.
    test boolean NOT NULL,
    model text NOT NULL,
    media_type text NOT NULL CHECK (media_type IN ('image', 'video')),
    -- The prompt, the fitted values, the seed, the paths of the reference images; never their
    -- bytes.
    request jsonb NOT NULL,
    status text NOT NULL DEFAULT 'PENDING'
        CHECK (status IN ('PENDING', 'PROCESSING', 'SUCCESS', 'FAILED', 'CANCELED')),
    progress smallint NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    cancel_requested boolean NOT NULL DEFAULT false,
    -- Whose word counts about the task as long as it is open.
    node_id uuid NOT NULL,
    -- The provider of the current attempt, or of the first one to come.
    provider text NOT NULL,
    -- How many times an upstream was, or may have been, asked to do the work. Raised before asking.
    attempt integer NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    -- The upstream's own id for the current attempt; an attempt without one may or may not have
    -- reached the upstream.
    upstream_id text CHECK (upstream_id IS NULL OR attempt > 0),
    outputs jsonb NOT NULL DEFAULT '[]',
    failure jsonb,
    quoted bigint NOT NULL CHECK (quoted >= 0),
    charged bigint,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    deadline_at timestamptz NOT NULL,
    PRIMARY KEY (account_id, id),
    CONSTRAINT tasks_final_is_finished
        CHECK ((status IN ('SUCCESS', 'FAILED', 'CANCELED')) = (finished_at IS NOT NULL)),
    CONSTRAINT tasks_final_is_charged CHECK ((finished_at IS NULL) = (charged IS NULL)),
    CONSTRAINT tasks_charge_fits CHECK (charged BETWEEN 0 AND quoted),
    CONSTRAINT tasks_only_delivery_is_charged
        CHECK (charged = 0 OR (status = 'SUCCESS' AND NOT test)),
    CONSTRAINT tasks_success_has_outputs CHECK ((status = 'SUCCESS') = (outputs <> '[]')),
    CONSTRAINT tasks_failure_has_reason CHECK ((status = 'FAILED') = (failure IS NOT NULL)),
    CONSTRAINT tasks_started_by_attempt CHECK ((attempt > 0) = (started_at IS NOT NULL)),
    CONSTRAINT tasks_pending_is_unstarted CHECK (status <> 'PENDING' OR attempt = 0),
    CONSTRAINT tasks_processing_is_started
        CHECK (status NOT IN ('PROCESSING', 'SUCCESS') OR attempt > 0)
);

-- Open tasks only: for the limit on concurrent tasks, for deadlines, and for finding the tasks of a
-- node. None of its columns changes while a node works, so progress and attempts are written
-- without touching an index.
CREATE INDEX tasks_open ON tasks (account_id, test, deadline_at, node_id) WHERE finished_at IS NULL;

CREATE TABLE idempotency_keys (
    account_id uuid NOT NULL,
    -- Test and live keys are separate worlds: what was rehearsed with a key can be done for real
    -- with the same one.
    test boolean NOT NULL,
    key text NOT NULL CHECK (char_length(key) BETWEEN 1 AND 255),
    -- SHA-256 of what was asked.
    request_hash bytea NOT NULL CHECK (octet_length(request_hash) = 32),
    task_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, test, key)
);

-- Which moves a task may make; generation::Status::after is the same table.
CREATE FUNCTION task_may_move(from_status text, to_status text) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT (from_status, to_status) IN (
        ('PENDING', 'PROCESSING'), ('PENDING', 'FAILED'), ('PENDING', 'CANCELED'),
        ('PROCESSING', 'PROCESSING'), ('PROCESSING', 'SUCCESS'),
        ('PROCESSING', 'FAILED'), ('PROCESSING', 'CANCELED')
    )
$$;

CREATE FUNCTION tasks_refuse_move() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'task % may not move from % to %', OLD.id, OLD.status, NEW.status
        USING ERRCODE = 'check_violation';
END
$$;

CREATE TRIGGER tasks_final_never_changes BEFORE UPDATE ON tasks
    FOR EACH ROW WHEN (OLD.finished_at IS NOT NULL)
    EXECUTE FUNCTION tasks_refuse_move();

CREATE TRIGGER tasks_move_by_the_rule BEFORE UPDATE ON tasks
    FOR EACH ROW WHEN (OLD.status <> NEW.status AND NOT task_may_move(OLD.status, NEW.status))
    EXECUTE FUNCTION tasks_refuse_move();

-- The two functions below never scan a whole table, though a plan that was made while the table was
-- small would: hence their setting.

-- Takes a batch of submissions, each on its own merits: remembers keys, keeps the plans' limits on
-- concurrent tasks, holds the credits and inserts the tasks. A limit or a key may be null.
--
-- | outcome | also answered |
-- | ACCEPTED | created_at, deadline_at |
-- | REPLAYED | task_id: the earlier task of the same key and request |
-- | KEY_REUSED | |
-- | TOO_MANY | |
-- | INSUFFICIENT | available: the credits that could be spent |
--
-- Works in rounds. A round first answers what a remembered key decides, which from the second round
-- on includes the keys of the rounds before; then takes all that the limits admit, of several with
-- one key only the first. Whatever is left is decided anew, since a refused submission takes no
-- place and burns no key. Each round decides at least one, and nearly always one round decides all.
CREATE FUNCTION submit_tasks(
    node uuid,
    account_ids uuid[],
    ids uuid[],
    tests boolean[],
    models text[],
    media_types text[],
    providers text[],
    requests jsonb[],
    quotes bigint[],
    limits bigint[],
    lifetimes_ms bigint[],
    keys text[],
    hashes bytea[]
) RETURNS TABLE (
    ordinal bigint,
    outcome text,
    task_id uuid,
    available bigint,
    created_at timestamptz,
    deadline_at timestamptz
)
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    undecided bigint[] := ARRAY(SELECT generate_series(1, cardinality(ids)));
    candidates bigint[];
    live bigint[];
    refused bigint[];
    accepted bigint[];
BEGIN
    PERFORM ledger_lock(account_ids);
    LOOP
        FOR ordinal, outcome, task_id IN
            SELECT
                s.ordinal,
                CASE WHEN k.request_hash = s.hash THEN 'REPLAYED' ELSE 'KEY_REUSED' END,
                k.task_id
            FROM unnest(account_ids, tests, keys, hashes) WITH ORDINALITY
                AS s (account_id, test, key, hash, ordinal)
            JOIN idempotency_keys AS k USING (account_id, test, key)
            WHERE s.ordinal = ANY (undecided)
        LOOP
            RETURN NEXT;
            undecided := array_remove(undecided, ordinal);
        END LOOP;
        task_id := NULL;
        EXIT WHEN cardinality(undecided) = 0;

        candidates := ARRAY(
            WITH turns AS (
                SELECT s.*, row_number() OVER (PARTITION BY account_id, test, key ORDER BY ordinal) AS turn
                FROM unnest(account_ids, tests, keys, limits) WITH ORDINALITY
                    AS s (account_id, test, key, most, ordinal)
                WHERE s.ordinal = ANY (undecided)
            ), firsts AS (
                SELECT t.*, row_number() OVER (PARTITION BY account_id, test ORDER BY ordinal) AS place
                FROM turns AS t
                WHERE t.key IS NULL OR t.turn = 1
            ), open AS (
                SELECT a.account_id, a.test, count(t.id) AS tasks
                FROM (SELECT DISTINCT account_id, test FROM firsts) AS a
                LEFT JOIN tasks AS t
                    ON t.account_id = a.account_id AND t.test = a.test AND t.finished_at IS NULL
                GROUP BY a.account_id, a.test
            )
            SELECT f.ordinal
            FROM firsts AS f JOIN open AS o USING (account_id, test)
            WHERE f.most IS NULL OR o.tasks + f.place <= f.most
            ORDER BY f.ordinal
        );
        IF cardinality(candidates) = 0 THEN
            RETURN QUERY
                SELECT
                    u, 'TOO_MANY', NULL::uuid, NULL::bigint, NULL::timestamptz, NULL::timestamptz
                FROM unnest(undecided) AS u;
            EXIT;
        END IF;

        live := ARRAY(SELECT c FROM unnest(candidates) AS c WHERE NOT tests[c] ORDER BY c);
        refused := '{}';
        FOR ordinal, outcome, available IN
            SELECT live[h.ordinal], 'INSUFFICIENT', h.available
            FROM ledger_hold(
                ARRAY(SELECT account_ids[l] FROM unnest(live) AS l ORDER BY l),
                ARRAY(SELECT ids[l] FROM unnest(live) AS l ORDER BY l),
                ARRAY(SELECT quotes[l] FROM unnest(live) AS l ORDER BY l)
            ) AS h
            WHERE NOT h.accepted
        LOOP
            RETURN NEXT;
            refused := refused || ordinal;
        END LOOP;
        available := NULL;
        accepted := ARRAY(SELECT c FROM unnest(candidates) AS c WHERE c <> ALL (refused));

        RETURN QUERY
            INSERT INTO tasks AS t (
                account_id, id, test, model, media_type, request, node_id, provider, quoted, deadline_at
            )
            SELECT
                s.account_id, s.id, s.test, s.model, s.media_type, s.request, node, s.provider, s.quoted,
                now() + s.lifetime_ms * interval '1 millisecond'
            FROM unnest(
                account_ids, ids, tests, models, media_types, providers, requests, quotes, lifetimes_ms
            ) WITH ORDINALITY AS s (
                account_id, id, test, model, media_type, provider, request, quoted, lifetime_ms, ordinal
            )
            WHERE s.ordinal = ANY (accepted)
            RETURNING
                array_position(ids, t.id)::bigint, 'ACCEPTED', t.id, NULL::bigint, t.created_at, t.deadline_at;

        INSERT INTO idempotency_keys (account_id, test, key, request_hash, task_id)
        SELECT s.account_id, s.test, s.key, s.hash, s.id
        FROM unnest(account_ids, tests, keys, hashes, ids) WITH ORDINALITY
            AS s (account_id, test, key, hash, id, ordinal)
        WHERE s.ordinal = ANY (accepted) AND s.key IS NOT NULL;

        undecided := ARRAY(SELECT u FROM unnest(undecided) AS u WHERE u <> ALL (candidates));
        EXIT WHEN cardinality(undecided) = 0;
    END LOOP;
END
$$;

-- Ends a batch of tasks and moves their money, once: of all that try to end one task, in this batch
-- or in any other, the first does, and only what it ended is answered. A charge counts for live
-- tasks; what it leaves of the hold is released.
CREATE FUNCTION finish_tasks(
    account_ids uuid[],
    ids uuid[],
    statuses text[],
    charges bigint[],
    results jsonb[],
    failures jsonb[]
) RETURNS TABLE (ordinal bigint, charged bigint, finished_at timestamptz)
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    settled_accounts uuid[];
    settled_tasks uuid[];
    settled_held bigint[];
    settled_charged bigint[];
    ended bigint[];
    ended_charged bigint[];
BEGIN
    PERFORM ledger_lock(account_ids);
    WITH asked AS (
        SELECT DISTINCT ON (a.account_id, a.id) a.*
        FROM unnest(account_ids, ids, statuses, charges, results, failures) WITH ORDINALITY
            AS a (account_id, id, status, charge, outputs, failure, ordinal)
        ORDER BY a.account_id, a.id, a.ordinal
    ), finished AS (
        UPDATE tasks AS t
        SET status = a.status,
            progress = CASE WHEN a.status = 'SUCCESS' THEN 100 ELSE t.progress END,
            charged = CASE WHEN t.test THEN 0 ELSE a.charge END,
            outputs = a.outputs,
            failure = a.failure,
            finished_at = now()
        FROM asked AS a
        WHERE t.account_id = a.account_id AND t.id = a.id AND t.finished_at IS NULL
        RETURNING a.ordinal, t.account_id, t.id, t.test, t.quoted, t.charged
    )
    SELECT array_agg(f.ordinal ORDER BY f.ordinal),
           array_agg(f.charged ORDER BY f.ordinal),
           array_agg(f.account_id ORDER BY f.ordinal) FILTER (WHERE NOT f.test),
           array_agg(f.id ORDER BY f.ordinal) FILTER (WHERE NOT f.test),
           array_agg(f.quoted ORDER BY f.ordinal) FILTER (WHERE NOT f.test),
           array_agg(f.charged ORDER BY f.ordinal) FILTER (WHERE NOT f.test)
    INTO ended, ended_charged, settled_accounts, settled_tasks, settled_held, settled_charged
    FROM finished AS f;

    IF settled_tasks IS NOT NULL THEN
        PERFORM ledger_settle(settled_accounts, settled_tasks, settled_held, settled_charged);
    END IF;
    RETURN QUERY
        SELECT e.ordinal, e.charged, now()
        FROM unnest(ended, ended_charged) AS e (ordinal, charged);
END
$$;
