-- The word on a submission that nobody knew about.
SELECT verdict, upstream_id FROM lost_submissions WHERE task_id = $1 AND attempt = $2
