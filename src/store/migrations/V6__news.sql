-- What nodes know of each other, and files that came too late.

-- Tasks are taken from a node only after its lease was declared over, not merely because it has run
-- out: a node that renews its lease and finds no such declaration knows that all its tasks are still
-- its own, without looking at any of them.
ALTER TABLE nodes ADD COLUMN lapsed boolean NOT NULL DEFAULT false;

-- The few open tasks that are to be canceled.
CREATE INDEX tasks_canceling ON tasks (node_id) WHERE cancel_requested AND finished_at IS NULL;

-- Files that an upstream delivered after the task had failed, as JSON. They were not charged.
ALTER TABLE tasks
    ADD COLUMN late_outputs text,
    ADD CONSTRAINT tasks_late_is_failed CHECK (late_outputs IS NULL OR status = 'FAILED');

-- A task that has ended never changes, but for the files that come late, once.
CREATE FUNCTION tasks_refuse_change() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    rest tasks := NEW;
BEGIN
    rest.late_outputs := OLD.late_outputs;
    IF OLD.late_outputs IS NULL AND NEW.late_outputs IS NOT NULL AND rest IS NOT DISTINCT FROM OLD THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'task % has ended and may not change', OLD.id USING ERRCODE = 'check_violation';
END
$$;

DROP TRIGGER tasks_final_never_changes ON tasks;
CREATE TRIGGER tasks_final_never_changes BEFORE UPDATE ON tasks
    FOR EACH ROW WHEN (OLD.finished_at IS NOT NULL)
    EXECUTE FUNCTION tasks_refuse_change();
