-- Writes down that nobody knows whether an attempt arrived, unless that stands there already, and answers the
-- operator's word on it, if there is one.
INSERT INTO lost_submissions (account_id, task_id, attempt, provider, upstream_model)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (task_id, attempt) DO UPDATE SET upstream_model = coalesce(lost_submissions.upstream_model, $5)
RETURNING verdict, upstream_id
