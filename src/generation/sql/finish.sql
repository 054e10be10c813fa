-- Ends a batch of tasks and settles their holds; answers only what it ended.
SELECT ordinal, charged, finished_at
FROM finish_tasks($1, $2, $3, $4, $5, $6)
