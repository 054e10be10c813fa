-- What nodes know of each other, and files that came too late.

-- Tasks are taken from a node only after its lease was declared over, not merely because it has run
-- out: a node that renews its lease and finds no such declaration knows that all its tasks are still
-- its own, without looking at any of them.
ALTER TABLE nodes ADD COLUMN lapsed boolean NOT NULL DEFAULT false;

-- The few open tasks that are to be canceled.
CREATE INDEX tasks_canceling ON tasks (node_id) WHERE cancel_requested AND finished_at IS NULL;

-- Writes down the progress of tasks of a node; answers where that was done. It passes over rows that
-- are locked: progress is worth no wait. One look-up each, also by a plan that was made while the table
-- was small: hence LIMIT, and the settings.
CREATE FUNCTION tasks_progress(node uuid, account_ids uuid[], ids uuid[], progresses smallint[])
RETURNS SETOF uuid
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    RETURN QUERY
    WITH told AS (
        SELECT t.account_id, t.id, p.progress
        FROM unnest(account_ids, ids, progresses) AS p (account_id, id, progress)
        CROSS JOIN LATERAL (
            SELECT * FROM tasks WHERE account_id = p.account_id AND id = p.id LIMIT 1 FOR UPDATE SKIP LOCKED
        ) AS t
        WHERE t.node_id = node AND t.finished_at IS NULL AND t.progress < p.progress
    )
    UPDATE tasks AS t
    SET progress = told.progress
    FROM told
    WHERE t.account_id = told.account_id AND t.id = told.id
    RETURNING t.id;
END $$;

-- Files that an upstream delivered after the task had failed, as JSON. They were not charged.
ALTER TABLE tasks
    ADD COLUMN late_outputs text,
    ADD CONSTRAINT tasks_late_is_failed CHECK (late_outputs IS NULL OR status = 'FAILED');

-- A task that has ended never changes, but for the files that come late, once.
CREATE OR REPLACE FUNCTION tasks_refuse_move() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    rest tasks := NEW;
BEGIN
    rest.late_outputs := OLD.late_outputs;
    IF OLD.late_outputs IS NULL AND NEW.late_outputs IS NOT NULL AND rest IS NOT DISTINCT FROM OLD THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'task % may not go from % to %', OLD.id, OLD.status, NEW.status USING ERRCODE = 'check_violation';
END
$$;
