-- Removes what nobody settled of tasks that have ended since.
DELETE FROM lost_submissions AS s
USING tasks AS t
WHERE s.verdict IS NULL
  AND t.account_id = s.account_id
  AND t.id = s.task_id
  AND t.finished_at IS NOT NULL
