-- What operators changed: who, when and what. A row is written in the transaction that makes the change, so that
-- there is none without the other, and is never changed or removed.

CREATE TABLE audit_log (
    -- In the order in which the changes began. Numbers of changes that came to nothing are missing.
    number          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at              timestamptz NOT NULL DEFAULT now(),
    actor_kind      text        NOT NULL CHECK (actor_kind IN ('KEY', 'TOKEN', 'PERSON', 'COMMAND_LINE')),
    -- The key or the person.
    actor_id        uuid        CHECK ((actor_id IS NOT NULL) = (actor_kind IN ('KEY', 'PERSON'))),
    -- The account of the key or token, the person's e-mail address, or the user of the system, as it then was.
    actor           text        NOT NULL,
    -- The method of the API, or the command that has none.
    method          text        NOT NULL,
    -- The account that it is about, if it is about one.
    account_id      uuid,
    account         text        CHECK ((account IS NULL) = (account_id IS NULL)),
    -- An object; no secrets.
    change          jsonb       NOT NULL CHECK (jsonb_typeof(change) = 'object'),
    request_id      text,
    idempotency_key text        CHECK (char_length(idempotency_key) BETWEEN 1 AND 255)
);

-- The same key makes the same change to an account once. Whoever comes second waits here for the first.
CREATE UNIQUE INDEX audit_log_once ON audit_log (account_id, method, idempotency_key)
    WHERE idempotency_key IS NOT NULL;

CREATE FUNCTION audit_log_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is never changed' USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER audit_log_is_final BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_refuse_change();
-- Also where triggers are commonly switched off, as in a session that restores or replicates.
ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_is_final;

-- How tasks of the last day ended, for the operator. One entry for 128 pages of the table, so a submission pays
-- next to nothing for it, and what is written later of a task nothing at all: the column never changes.
CREATE INDEX tasks_by_time ON tasks USING brin (created_at) WITH (autosummarize = on);
