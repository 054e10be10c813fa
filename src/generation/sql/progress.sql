-- Writes down the progress of many tasks and tells the other nodes, if there is a payload; answers
-- where it was written.
WITH written AS (
    SELECT id FROM tasks_progress($1, $2, $3, $4) AS id
), news AS (
    SELECT pg_notify('piooy_tasks', $5)
    WHERE $5::text IS NOT NULL AND EXISTS (SELECT FROM written)
)
SELECT id FROM written LEFT JOIN news ON true
