-- Submissions that may have reached their upstream or not, and the operator's word on them.
--
-- A table of its own, since such submissions are rare and tasks are many: what is written for every task stays as
-- it is. A row appears when a node finds that it does not know, goes when the upstream tells after all, and stays
-- for the record when the operator gave a word.
CREATE TABLE lost_submissions (
    since          timestamptz NOT NULL DEFAULT now(),
    settled_at     timestamptz,
    attempt        integer     NOT NULL CHECK (attempt > 0),
    account_id     uuid        NOT NULL,
    task_id        uuid        NOT NULL,
    provider       text        NOT NULL,
    -- The upstream's name of the model; NULL where the node that wrote the row has no route to it any more.
    upstream_model text,
    -- The operator's word.
    verdict        text        CHECK (verdict IN ('NOT_SUBMITTED', 'ARRIVED', 'GIVE_UP')),
    -- For ARRIVED, as the operator said it.
    upstream_id    text,
    -- Whose word it is.
    settled_by     text,
    PRIMARY KEY (task_id, attempt),
    CONSTRAINT lost_submissions_settled_once CHECK ((verdict IS NULL) = (settled_at IS NULL)),
    CONSTRAINT lost_submissions_arrived_as CHECK ((verdict = 'ARRIVED') IS TRUE = (upstream_id IS NOT NULL))
);

-- What is listed, in the order in which it is listed.
CREATE INDEX lost_submissions_open ON lost_submissions (task_id) WHERE verdict IS NULL;

-- Gives the operator's word on a submission, if nobody knows about it still; answers what stands there afterwards.
-- `refused` says why the word was not taken: the row has another one, the task has ended, or it has gone on with
-- another attempt or a known one. No row: there is no such submission.
--
-- Lock order: the account, the task, then the submission, which nobody holds while waiting for the others.
CREATE FUNCTION lost_submissions_settle(
    asked_task uuid, asked_attempt integer, word text, asked_upstream_id text, who text
) RETURNS TABLE (
    account_id uuid, verdict text, upstream_id text, settled_at timestamptz, refused text
)
LANGUAGE plpgsql SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    owner uuid;
    lost lost_submissions;
    task tasks;
BEGIN
    SELECT s.account_id INTO owner
    FROM lost_submissions AS s
    WHERE s.task_id = asked_task AND s.attempt = asked_attempt;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM ledger_lock(ARRAY[owner]);
    SELECT * INTO task FROM tasks AS t WHERE t.account_id = owner AND t.id = asked_task FOR UPDATE;
    SELECT * INTO lost
    FROM lost_submissions AS s
    WHERE s.task_id = asked_task AND s.attempt = asked_attempt
    FOR UPDATE;
    IF lost.verdict IS NOT NULL THEN
        refused := CASE
            WHEN (lost.verdict, lost.upstream_id) IS DISTINCT FROM (word, asked_upstream_id) THEN 'SETTLED'
        END;
    ELSIF task.id IS NULL OR task.finished_at IS NOT NULL THEN
        refused := 'ENDED';
    ELSIF task.attempt <> asked_attempt OR task.upstream_id IS NOT NULL THEN
        refused := 'KNOWN';
    ELSE
        UPDATE lost_submissions AS s
        SET verdict = word, upstream_id = asked_upstream_id, settled_by = who, settled_at = now()
        WHERE s.task_id = asked_task AND s.attempt = asked_attempt
        RETURNING * INTO lost;
        IF word = 'ARRIVED' THEN
            UPDATE tasks AS t
            SET upstream_id = asked_upstream_id
            WHERE t.account_id = owner AND t.id = asked_task;
        END IF;
    END IF;
    account_id := owner;
    verdict := lost.verdict;
    upstream_id := lost.upstream_id;
    settled_at := lost.settled_at;
    RETURN NEXT;
END $$;
