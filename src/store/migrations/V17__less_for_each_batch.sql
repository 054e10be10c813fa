-- What a batch costs beside its rows. Measured with eight submissions in a batch, half of the server's work
-- went into functions that call functions, each with settings of its own, and into reading the rules of `tasks`
-- from their text, which the server does anew for every statement that writes to a table.

-- A task begins as PENDING and is written as nothing else, so an insert need only be seen to do that; the whole
-- rule is read when one of the columns that it is about is written again. A rule that hangs on a trigger is not
-- read for statements that leave its columns alone.
ALTER TABLE tasks
    DROP CONSTRAINT tasks_charge_fits,
    DROP CONSTRAINT tasks_are_as_their_status_says,
    DROP CONSTRAINT tasks_late_is_failed;

CREATE FUNCTION tasks_refuse_shape() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'task % may not be % with this attempt, these times, this charge and these results',
        NEW.id, NEW.status
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
END $$;

CREATE TRIGGER tasks_begin_pending BEFORE INSERT ON tasks
    FOR EACH ROW WHEN (
        NEW.status <> 'PENDING'
        OR NEW.attempt <> 0
        OR num_nonnulls(
            NEW.started_at, NEW.finished_at, NEW.charged, NEW.outputs, NEW.failure, NEW.late_outputs
        ) > 0
    )
    EXECUTE FUNCTION tasks_refuse_shape();

-- Only what is delivered is charged, and never more than was quoted; test tasks never are.
CREATE TRIGGER tasks_are_as_their_status_says
    BEFORE UPDATE OF
        status, attempt, started_at, finished_at, quoted, charged, test, outputs, failure, late_outputs
    ON tasks
    FOR EACH ROW WHEN (NOT (
        NEW.status = CASE
            WHEN NEW.finished_at IS NULL THEN CASE WHEN NEW.attempt = 0 THEN 'PENDING' ELSE 'PROCESSING' END
            WHEN NEW.outputs IS NOT NULL THEN 'SUCCESS'
            WHEN NEW.failure IS NOT NULL THEN 'FAILED'
            ELSE 'CANCELED'
        END
        AND num_nonnulls(NEW.outputs, NEW.failure) <= num_nonnulls(NEW.finished_at)
        AND (NEW.attempt = 0) = (NEW.started_at IS NULL)
        AND (NEW.finished_at IS NULL) = (NEW.charged IS NULL)
        AND (NEW.outputs IS NULL OR NEW.attempt > 0)
        AND (NEW.late_outputs IS NULL OR NEW.status = 'FAILED')
        AND NEW.charged BETWEEN 0 AND CASE WHEN NEW.test OR NEW.outputs IS NULL THEN 0 ELSE NEW.quoted END
    ))
    EXECUTE FUNCTION tasks_refuse_shape();

-- A key's code is unique, so that to insert a task is to see that its key was not used this week: half of the
-- ways through the index that there were. Where two keys share their bits, which are 47 of a hash, the second
-- one has its last bit turned over; whoever looks for a key looks at both places.
--
-- A task that has ended may lose its code when the key counts no more, so that it can be used again; a place
-- that was taken is never left empty otherwise, so that nothing that should have been found is passed by.
CREATE OR REPLACE FUNCTION tasks_refuse_move() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    kept tasks := OLD;
BEGIN
    kept.late_outputs := coalesce(OLD.late_outputs, NEW.late_outputs);
    kept.upstream_id := coalesce(OLD.upstream_id, NEW.upstream_id);
    IF NEW.key_code IS NULL THEN
        kept.key_code := NULL;
    END IF;
    IF NEW IS DISTINCT FROM OLD AND NEW IS NOT DISTINCT FROM kept THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'task % may not go from % to %', OLD.id, OLD.status, NEW.status USING ERRCODE = 'check_violation';
END $$;

-- Of those that share a code so far, nearly all are one key that was used again after a day.
UPDATE tasks SET key_code = NULL
WHERE id IN (
    SELECT id FROM (
        SELECT id, row_number() OVER (PARTITION BY key_code ORDER BY created_at DESC) AS place
        FROM tasks WHERE key_code IS NOT NULL
    ) AS sharing
    WHERE place > 1
);
DROP INDEX tasks_by_key;
CREATE UNIQUE INDEX tasks_by_key ON tasks (key_code) WHERE key_code IS NOT NULL;

-- The tasks that idempotency keys led to within so many seconds, and where they were found. `bits` are 47 of the
-- hash of each; several keys may share them, so whoever asks compares the hashes.
DROP FUNCTION tasks_by_keys;
CREATE FUNCTION tasks_by_keys(bits bigint[], lifetime_seconds double precision)
RETURNS TABLE (id uuid, idempotency bytea, key_code bigint)
LANGUAGE plpgsql ROWS 10 SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    since CONSTANT timestamptz := now() - make_interval(secs => lifetime_seconds);
    codes CONSTANT bigint[] := ARRAY(
        SELECT (week << 47) | bit
        FROM unnest(bits) AS bit, generate_series(
            floor(extract(epoch FROM since) / 604800)::bigint,
            -- Others may have come first while this transaction waited for its locks.
            floor(extract(epoch FROM clock_timestamp()) / 604800)::bigint
        ) AS week
    );
BEGIN
    RETURN QUERY
    SELECT t.id, t.idempotency, t.key_code FROM tasks AS t
    WHERE t.key_code = ANY (codes) AND t.created_at > since;
END $$;

-- Locks are taken in the order of the accounts' ids: a caller who has sorted them need not ask for an order.
CREATE OR REPLACE FUNCTION ledger_lock(accounts uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    account uuid;
BEGIN
    FOREACH account IN ARRAY ARRAY(SELECT DISTINCT id FROM unnest(accounts) AS every (id) ORDER BY id) LOOP
        PERFORM pg_advisory_xact_lock(uuid_hash_extended(account, 0));
    END LOOP;
END $$;

-- As before, without functions of arrays: an element costs less than a row of a function.
CREATE OR REPLACE FUNCTION ledger_append(
    account_ids uuid[],
    seqs bigint[],
    kinds ledger_kind[],
    amounts bigint[],
    available bigint[],
    held bigint[],
    open integer[],
    task_ids uuid[],
    notes text[],
    given_back_to uuid[],
    most bigint[]
) RETURNS void
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    IF cardinality(account_ids) > 0 THEN
        INSERT INTO ledger_entries (seq, amount, available, held, at, kind, account_id, task_id, note, open)
        SELECT
            seqs[i], amounts[i], ledger_append.available[i], ledger_append.held[i], clock_timestamp(), kinds[i],
            account_ids[i], task_ids[i], coalesce(notes[i], ''), ledger_append.open[i]
        FROM generate_series(1, cardinality(account_ids)) AS i;
    END IF;
    IF cardinality(given_back_to) > 0 THEN
        UPDATE ledger_lots AS never
        SET remaining = never.remaining + given.available - lots.remaining
        FROM unnest(given_back_to, most) AS given (account_id, available)
        CROSS JOIN LATERAL (
            SELECT sum(remaining)::bigint AS remaining FROM ledger_lots WHERE account_id = given.account_id
        ) AS lots
        WHERE never.account_id = given.account_id
          AND never.expires_at = 'infinity'
          AND given.available > lots.remaining;
    END IF;
END $$;

-- Writes what a batch comes to, in this order; a section without rows, which is NULL, is passed over. Answers a
-- row without an id, which says when the transaction began, then one for each task that began and for each that
-- ended. If something is not as it is expected to be, the transaction is over.
--
-- The settings are those of the functions that it calls, too.
DROP FUNCTION tasks_write;
CREATE FUNCTION tasks_write(
    node uuid,
    -- Where chains are remembered to end, if that is not known under their locks: accounts in the order of
    -- their ids, each once.
    resume_accounts uuid[],
    resume_seqs bigint[],
    resume_available bigint[],
    resume_held bigint[],
    resume_open integer[],
    -- If idempotency keys are taken for unused: the first and the last week in which they would count, and where
    -- they would be found, unless it is in the last one and their tasks are inserted here. How long they count is
    -- always said.
    unused_codes bigint[],
    unused_for_seconds double precision,
    unused_first_week bigint,
    unused_last_week bigint,
    -- Attempts that begin.
    begin_accounts uuid[],
    begin_ids uuid[],
    begin_attempts integer[],
    begin_providers text[],
    -- Upstreams' ids of attempts.
    arrive_accounts uuid[],
    arrive_ids uuid[],
    arrive_attempts integer[],
    arrive_upstream_ids text[],
    -- Tasks that end.
    finish_accounts uuid[],
    finish_ids uuid[],
    finish_statuses text[],
    finish_charges bigint[],
    finish_results text[],
    finish_failures text[],
    finish_all boolean,
    -- Tasks that are accepted.
    insert_accounts uuid[],
    insert_ids uuid[],
    insert_lifetimes_ms bigint[],
    insert_quoted bigint[],
    insert_key_codes bigint[],
    insert_idempotencies bytea[],
    insert_tests boolean[],
    insert_keys uuid[],
    insert_media_types text[],
    insert_models text[],
    insert_providers text[],
    insert_requests text[],
    insert_to_webhooks boolean[],
    insert_webhook_urls text[],
    -- As ledger_append takes them.
    entry_accounts uuid[],
    entry_seqs bigint[],
    entry_kinds ledger_kind[],
    entry_amounts bigint[],
    entry_available bigint[],
    entry_held bigint[],
    entry_open integer[],
    entry_tasks uuid[],
    entry_notes text[],
    entry_given_back_to uuid[],
    entry_most bigint[],
    -- For the other nodes, if there are any.
    news text
) RETURNS TABLE (
    id uuid, at timestamptz, test boolean, quoted bigint, charged bigint, key_id uuid, created_at timestamptz,
    owes boolean
)
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    account uuid;
    -- Weeks of 604,800 seconds since 1970.
    week CONSTANT double precision := 604800;
    unused_since CONSTANT timestamptz := now() - make_interval(secs => unused_for_seconds);
BEGIN
    IF cardinality(resume_accounts) > 0 THEN
        FOREACH account IN ARRAY resume_accounts LOOP
            -- An expression, which needs no statement; it is never true.
            IF pg_advisory_xact_lock(uuid_hash_extended(account, 0)) IS NULL THEN
                RETURN;
            END IF;
        END LOOP;
        -- A statement of its own: it sees what was committed before the locks were granted.
        PERFORM FROM generate_series(1, cardinality(resume_accounts)) AS i
        LEFT JOIN LATERAL (
            SELECT entry.seq, entry.available, entry.held, entry.open FROM ledger_entries AS entry
            WHERE entry.account_id = resume_accounts[i] ORDER BY entry.seq DESC LIMIT 1
        ) AS last ON true
        WHERE (resume_seqs[i], resume_available[i], resume_held[i], resume_open[i])
            <> (coalesce(last.seq, 0), coalesce(last.available, 0), coalesce(last.held, 0), coalesce(last.open, 0));
        IF FOUND THEN
            RAISE EXCEPTION 'a chain does not end as remembered' USING ERRCODE = 'serialization_failure';
        END IF;
    END IF;
    at := now();
    RETURN NEXT;
    IF unused_first_week > floor(extract(epoch FROM unused_since)::double precision / week)
        OR unused_last_week <> floor(extract(epoch FROM now())::double precision / week)
    THEN
        RAISE EXCEPTION 'keys were looked for in other weeks' USING ERRCODE = 'serialization_failure';
    END IF;
    IF cardinality(unused_codes) > 0 THEN
        PERFORM FROM tasks AS t WHERE t.key_code = ANY (unused_codes) AND t.created_at > unused_since;
        IF FOUND THEN
            RAISE EXCEPTION 'a key was used before' USING ERRCODE = 'serialization_failure';
        END IF;
    END IF;
    IF cardinality(begin_ids) > 0 THEN
        RETURN QUERY
        SELECT begun.id, begun.started_at, NULL::boolean, NULL::bigint, NULL::bigint, NULL::uuid,
            NULL::timestamptz, NULL::boolean
        FROM tasks_begin(node, begin_accounts, begin_ids, begin_attempts, begin_providers) AS begun;
    END IF;
    IF cardinality(arrive_ids) > 0 THEN
        PERFORM tasks_arrive(arrive_accounts, arrive_ids, arrive_attempts, arrive_upstream_ids);
    END IF;
    IF cardinality(finish_ids) > 0 THEN
        RETURN QUERY
        SELECT ended.id, ended.finished_at, ended.test, ended.quoted, ended.charged, ended.key_id,
            ended.created_at, ended.owes
        FROM tasks_finish(
            finish_accounts, finish_ids, finish_statuses, finish_charges, finish_results, finish_failures, finish_all
        ) AS ended;
    END IF;
    IF cardinality(insert_ids) > 0 THEN
        IF unused_last_week IS NULL AND num_nonnulls(VARIADIC insert_key_codes) > 0 THEN
            UPDATE tasks SET key_code = NULL WHERE key_code = ANY (insert_key_codes) AND created_at <= unused_since;
        END IF;
        INSERT INTO tasks (
            created_at, node_id, account_id, id, deadline_at, quoted, key_code, idempotency, test, key_id,
            media_type, model, provider, request, to_webhooks, webhook_url
        )
        SELECT
            now(), node, insert_accounts[i], insert_ids[i], now() + insert_lifetimes_ms[i] * interval '1 millisecond',
            insert_quoted[i], insert_key_codes[i], insert_idempotencies[i], insert_tests[i], insert_keys[i],
            insert_media_types[i], insert_models[i], insert_providers[i], insert_requests[i], insert_to_webhooks[i],
            insert_webhook_urls[i]
        FROM generate_series(1, cardinality(insert_ids)) AS i;
    END IF;
    PERFORM ledger_append(
        entry_accounts, entry_seqs, entry_kinds, entry_amounts, entry_available, entry_held, entry_open,
        entry_tasks, entry_notes, entry_given_back_to, entry_most
    );
    IF news IS NOT NULL THEN
        PERFORM pg_notify('piooy_tasks', news);
    END IF;
END $$;

DROP FUNCTION ledger_resume, tasks_expect_no_keys;
ALTER FUNCTION tasks_begin RESET ALL;
ALTER FUNCTION tasks_arrive RESET ALL;
ALTER FUNCTION tasks_finish RESET ALL;
