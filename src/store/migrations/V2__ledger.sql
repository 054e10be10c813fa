-- The ledger: one journal of every movement of credits, append only, carrying its own running
-- balances.
--
-- An account's entries form a chain numbered 1, 2, 3, … without gaps. Each entry repeats the
-- account's balances after its movement, so the last entry *is* the balance: no row is ever
-- updated, and a busy account has no hot row. `kind` names both legs of an entry:
--
--   GRANT    grants    → available      somebody was given credits
--   HOLD     available → held           a task was submitted
--   CAPTURE  held      → revenue        what it delivered
--   RELEASE  held      → available      what it did not
--
-- The arrow goes from the debited to the credited ledger account; `ledger_legs` shows each entry as
-- those two. What `grants` and `revenue` come to is a sum over the journal: a counter kept for them
-- would be the hot row that the shape avoids.
--
-- **Lock order.** Writers to a chain take turns by a transaction-scoped advisory lock for each
-- account (`ledger_lock`). A transaction takes the locks of all its accounts in one call and before
-- any row lock; within the call they are taken in the order of their keys. Whoever calls both
-- `ledger_hold` and `ledger_settle`, or either after touching other rows, calls `ledger_lock`
-- first, with every account. Each lock is an entry of PostgreSQL's lock table (by default 64 for
-- each allowed connection): bound the batch.
--
-- **Isolation.** READ COMMITTED. The functions read the last entries with a snapshot taken after
-- the locks; a transaction with one snapshot for all (REPEATABLE READ) would read old ones and then
-- be refused by the primary key.
--
-- There are no foreign keys: they double the cost of an entry, and `Ledger::verify` proves more
-- than they could.

-- An enum is four bytes, which the alignment of the row gives for free, and reads well.
CREATE TYPE ledger_kind AS ENUM ('GRANT', 'HOLD', 'CAPTURE', 'RELEASE');

-- Wide columns first, so that none needs padding; and no NULL in the rows that are written often
-- (those of tasks), so that they need no null bitmap, which for nine columns would add eight bytes:
-- 104 bytes a row in all.
CREATE TABLE ledger_entries (
    seq        bigint      NOT NULL CHECK (seq >= 1),
    amount     bigint      NOT NULL CHECK (amount >= 0),
    available  bigint      NOT NULL CONSTRAINT ledger_available_not_negative CHECK (available >= 0),
    held       bigint      NOT NULL CONSTRAINT ledger_held_not_negative CHECK (held >= 0),
    at         timestamptz NOT NULL,
    kind       ledger_kind NOT NULL,
    account_id uuid        NOT NULL,
    task_id    uuid,
    note       text        NOT NULL DEFAULT '' CHECK (length(note) <= 500),
    PRIMARY KEY (account_id, seq),
    CONSTRAINT ledger_tasks_move_all_but_grants CHECK ((kind = 'GRANT') = (task_id IS NULL))
);

CREATE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'ledger entries are never changed or removed'
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER ledger_entries_are_final BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
-- Also where triggers are commonly switched off, as in a session that restores or replicates.
ALTER TABLE ledger_entries ENABLE ALWAYS TRIGGER ledger_entries_are_final;

CREATE VIEW ledger_legs AS
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
    ('GRANT'::ledger_kind, 'DEBIT', 'grants'), ('GRANT', 'CREDIT', 'available'),
    ('HOLD', 'DEBIT', 'available'), ('HOLD', 'CREDIT', 'held'),
    ('CAPTURE', 'DEBIT', 'held'), ('CAPTURE', 'CREDIT', 'revenue'),
    ('RELEASE', 'DEBIT', 'held'), ('RELEASE', 'CREDIT', 'available')
) AS leg (kind, side, ledger_account) USING (kind);

-- Makes the caller the only writer to the chains of `accounts` until its transaction ends.
CREATE FUNCTION ledger_lock(accounts uuid[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(lock.key)
    FROM (
        SELECT DISTINCT uuid_hash_extended(account.id, 0) AS key
        FROM unnest(accounts) AS account (id)
        ORDER BY key
    ) AS lock;
END $$;

-- The number and balances of the last entry of each of `accounts`; zeros where there is none.
--
-- One index look-up for each account. The setting keeps it so: a plan made while the journal was a
-- page long would read all of it, and a connection keeps its plans while the journal grows.
CREATE FUNCTION ledger_last(accounts uuid[])
RETURNS TABLE (account_id uuid, seq bigint, available bigint, held bigint)
LANGUAGE plpgsql STABLE ROWS 10 SET enable_seqscan = off AS $$
BEGIN
    RETURN QUERY
    SELECT account.id, coalesce(entry.seq, 0), coalesce(entry.available, 0), coalesce(entry.held, 0)
    FROM (SELECT DISTINCT every.id FROM unnest(accounts) AS every (id)) AS account
    LEFT JOIN LATERAL (
        SELECT last.seq, last.available, last.held FROM ledger_entries AS last
        WHERE last.account_id = account.id ORDER BY last.seq DESC LIMIT 1
    ) AS entry ON true;
END $$;

-- What remains of `available` after taking `amount`, if that much is there: a running balance that
-- a request too large leaves alone.
CREATE FUNCTION ledger_take(remaining bigint, amount bigint, available bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    remaining := coalesce(remaining, available);
    IF amount <= remaining THEN
        RETURN remaining - amount;
    END IF;
    RETURN remaining;
END $$;

CREATE AGGREGATE ledger_remaining(amount bigint, available bigint) (
    SFUNC = ledger_take,
    STYPE = bigint
);

-- Holds `amounts[i]` credits of `accounts[i]` for `tasks[i]`, in array order, and says of each
-- whether it was accepted and what was available after it. One that does not fit is refused alone.
-- Zero is held and recorded like any amount.
CREATE FUNCTION ledger_hold(accounts uuid[], tasks uuid[], amounts bigint[])
RETURNS TABLE (ordinal int, accepted boolean, available bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM ledger_lock(accounts);
    IF EXISTS (
        SELECT FROM unnest(accounts, tasks, amounts) AS asked (account_id, task_id, amount)
        WHERE num_nulls(account_id, task_id) > 0 OR (amount >= 0) IS NOT TRUE
    ) THEN
        RAISE EXCEPTION 'a hold names an account, a task and an amount that is not negative'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
    WITH asked AS (
        SELECT ordinal::int, account_id, task_id, amount, seq, available, held
        FROM unnest(accounts, tasks, amounts)
            WITH ORDINALITY AS asked (account_id, task_id, amount, ordinal)
        JOIN ledger_last(accounts) AS last USING (account_id)
    ), taken AS (
        SELECT *, ledger_remaining(amount, available) OVER chain AS remaining
        FROM asked WINDOW chain AS (PARTITION BY account_id ORDER BY ordinal)
    ), judged AS (
        SELECT *, amount <= lag(remaining, 1, available) OVER chain AS accepted
        FROM taken WINDOW chain AS (PARTITION BY account_id ORDER BY ordinal)
    ), numbered AS (
        SELECT *, count(*) FILTER (WHERE accepted) OVER chain AS position
        FROM judged WINDOW chain AS (PARTITION BY account_id ORDER BY ordinal)
    ), written AS (
        INSERT INTO ledger_entries (account_id, seq, kind, amount, available, held, task_id, at)
        SELECT
            account_id,
            seq + position,
            'HOLD',
            amount,
            remaining,
            held + (available - remaining),
            task_id,
            clock_timestamp()
        FROM numbered WHERE accepted ORDER BY ordinal
    )
    SELECT ordinal, accepted, remaining FROM numbered ORDER BY ordinal;
END $$;

-- Settles tasks whose `held[i]` credits are on hold, in array order: captures `charged[i]` and
-- releases the rest. A task that held nothing and is charged nothing is recorded as a capture of
-- zero. That a task is settled once is the caller's to guarantee, in the same transaction.
CREATE FUNCTION ledger_settle(accounts uuid[], tasks uuid[], held bigint[], charged bigint[])
RETURNS void
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    PERFORM ledger_lock(accounts);
    IF EXISTS (
        SELECT FROM unnest(accounts, tasks, held, charged)
            AS asked (account_id, task_id, held, charged)
        WHERE num_nulls(account_id, task_id) > 0
            OR (asked.charged BETWEEN 0 AND asked.held) IS NOT TRUE
    ) THEN
        RAISE EXCEPTION 'a settlement names an account, a task and a charge from 0 to what is held'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO ledger_entries (account_id, seq, kind, amount, available, held, task_id, at)
    SELECT
        account_id,
        last.seq + row_number() OVER chain,
        movement.kind,
        movement.amount,
        last.available + coalesce(
            sum(movement.amount) FILTER (WHERE movement.kind = 'RELEASE') OVER chain, 0
        )::bigint,
        last.held - (sum(movement.amount) OVER chain)::bigint,
        task_id,
        clock_timestamp()
    FROM unnest(accounts, tasks, held, charged)
        WITH ORDINALITY AS asked (account_id, task_id, held, charged, ordinal)
    JOIN ledger_last(accounts) AS last USING (account_id)
    CROSS JOIN LATERAL (VALUES
        ('CAPTURE'::ledger_kind, asked.charged),
        ('RELEASE'::ledger_kind, asked.held - asked.charged)
    ) AS movement (kind, amount)
    WHERE movement.amount > 0 OR (movement.kind = 'CAPTURE' AND asked.held = 0)
    WINDOW chain AS (PARTITION BY account_id ORDER BY asked.ordinal, movement.kind)
    ORDER BY asked.ordinal, movement.kind;
END $$;

-- Gives `amount` credits to `account` and returns its balances. Together they stay below 2^63, so
-- that no later movement overflows.
CREATE FUNCTION ledger_grant(account uuid, amount bigint, note text)
RETURNS TABLE (available bigint, held bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    last record;
BEGIN
    PERFORM ledger_lock(ARRAY[account]);
    SELECT * INTO last FROM ledger_last(ARRAY[account]);
    IF amount > 9223372036854775807 - last.available - last.held THEN
        RAISE EXCEPTION 'the balance would be too large'
            USING ERRCODE = 'numeric_value_out_of_range';
    END IF;
    available := last.available + amount;
    held := last.held;
    INSERT INTO ledger_entries (account_id, seq, kind, amount, available, held, note, at)
    VALUES (account, last.seq + 1, 'GRANT', amount, available, held, note, clock_timestamp());
    RETURN NEXT;
END $$;
