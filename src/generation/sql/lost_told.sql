-- The upstream told about a submission that nobody knew about; what the operator said of it stays.
DELETE FROM lost_submissions WHERE task_id = $1 AND attempt = $2 AND verdict IS NULL
