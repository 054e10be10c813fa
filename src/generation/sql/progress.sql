-- Writes down the progress of many tasks and tells the other nodes, if there is a payload; answers
-- where it was written. It passes over rows that are locked: progress is worth no wait.
WITH told AS (
    SELECT t.account_id, t.id, p.progress
    FROM unnest($2::uuid[], $3::uuid[], $4::smallint[]) AS p (account_id, id, progress)
    JOIN tasks AS t USING (account_id, id)
    WHERE t.node_id = $1 AND t.finished_at IS NULL AND t.progress < p.progress
    FOR UPDATE OF t SKIP LOCKED
), written AS (
    UPDATE tasks AS t
    SET progress = told.progress
    FROM told
    WHERE t.account_id = told.account_id AND t.id = told.id
    RETURNING t.id
), news AS (
    SELECT pg_notify('piooy_tasks', $5)
    WHERE $5::text IS NOT NULL AND EXISTS (SELECT FROM written)
)
SELECT id FROM written LEFT JOIN news ON true
