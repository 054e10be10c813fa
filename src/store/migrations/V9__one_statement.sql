-- Everything that a batch writes, in one statement: what a message of its own costs is as much as some rows.

-- Appends entries to the chains of accounts that the transaction has locked, and sees to it that no lot is
-- refilled with what tasks give back beyond what the lots lacked: `given_back_to` are the accounts that got
-- credits back, `most` is the most that each had available since. What of that is more than the lots come
-- to never expires. Accounts of which nothing expires have no lots.
CREATE FUNCTION ledger_append(
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
            e.seq, e.amount, e.available, e.held, clock_timestamp(), e.kind, e.account_id, e.task_id,
            coalesce(e.note, ''), e.open
        FROM unnest(account_ids, seqs, kinds, amounts, available, held, open, task_ids, notes)
            AS e (account_id, seq, kind, amount, available, held, open, task_id, note);
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

-- Writes what a batch comes to, in this order; a section without rows is passed over. Answers a row without
-- an id, which says when the transaction began, then one for each task that began and for each that ended.
-- If something is not as it is expected to be, the transaction is over.
CREATE FUNCTION tasks_write(
    node uuid,
    -- Where chains are remembered to end, if that is not known under their locks.
    resume_accounts uuid[],
    resume_seqs bigint[],
    resume_available bigint[],
    resume_held bigint[],
    resume_open integer[],
    -- Idempotency keys that led to nothing yet.
    unused_keys bigint[],
    unused_for_seconds double precision,
    unused_in_week bigint,
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
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    IF cardinality(resume_accounts) > 0 THEN
        PERFORM ledger_resume(resume_accounts, resume_seqs, resume_available, resume_held, resume_open);
    END IF;
    at := now();
    RETURN NEXT;
    IF cardinality(unused_keys) > 0 THEN
        PERFORM tasks_expect_no_keys(unused_keys, unused_for_seconds, unused_in_week);
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
        INSERT INTO tasks (
            created_at, node_id, account_id, id, deadline_at, quoted, key_code, idempotency, test, key_id,
            media_type, model, provider, request, to_webhooks, webhook_url
        )
        SELECT
            now(), node, t.account_id, t.id, now() + t.lifetime_ms * interval '1 millisecond', t.quoted, t.key_code,
            t.idempotency, t.test, t.key_id, t.media_type, t.model, t.provider, t.request, t.to_webhooks,
            t.webhook_url
        FROM unnest(
            insert_accounts, insert_ids, insert_lifetimes_ms, insert_quoted, insert_key_codes,
            insert_idempotencies, insert_tests, insert_keys, insert_media_types, insert_models,
            insert_providers, insert_requests, insert_to_webhooks, insert_webhook_urls
        ) AS t (
            account_id, id, lifetime_ms, quoted, key_code, idempotency, test, key_id, media_type, model,
            provider, request, to_webhooks, webhook_url
        );
    END IF;
    PERFORM ledger_append(
        entry_accounts, entry_seqs, entry_kinds, entry_amounts, entry_available, entry_held, entry_open,
        entry_tasks, entry_notes, entry_given_back_to, entry_most
    );
    IF news IS NOT NULL THEN
        PERFORM pg_notify('piooy_tasks', news);
    END IF;
END $$;
