-- An upstream's id for a task is written down even when the task has ended meanwhile: its deadline may pass while the
-- upstream is still answering, and then the id is all that leads to the job that it runs and to what it asks for it.

-- A task that has ended never changes, but for what comes late, each once: the upstream's id, and files.
CREATE OR REPLACE FUNCTION tasks_refuse_move() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    kept tasks := OLD;
BEGIN
    kept.late_outputs := coalesce(OLD.late_outputs, NEW.late_outputs);
    kept.upstream_id := coalesce(OLD.upstream_id, NEW.upstream_id);
    IF NEW IS DISTINCT FROM OLD AND NEW IS NOT DISTINCT FROM kept THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'task % may not go from % to %', OLD.id, OLD.status, NEW.status USING ERRCODE = 'check_violation';
END
$$;

CREATE OR REPLACE FUNCTION tasks_arrive(account_ids uuid[], ids uuid[], attempts integer[], upstream_ids text[])
RETURNS void
LANGUAGE plpgsql SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    UPDATE tasks AS t
    SET upstream_id = a.upstream_id
    FROM unnest(account_ids, ids, attempts, upstream_ids) AS a (account_id, id, attempt, upstream_id)
    WHERE t.account_id = ANY (ARRAY[a.account_id])
      AND t.id = a.id
      AND t.attempt = a.attempt
      AND (num_nulls(t.finished_at) = 1 OR num_nulls(t.upstream_id) = 1);
END $$;
