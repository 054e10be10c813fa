-- Gives the operator's word on a submission.
SELECT account_id, verdict, upstream_id, settled_at, refused FROM lost_submissions_settle($1, $2, $3, $4, $5)
