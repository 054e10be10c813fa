INSERT INTO plans
    (name, submits_per_minute, reads_per_minute, concurrent_tasks, queued_tasks, monthly_credits, free_tier_included)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (name) DO UPDATE SET
    submits_per_minute = excluded.submits_per_minute,
    reads_per_minute = excluded.reads_per_minute,
    concurrent_tasks = excluded.concurrent_tasks,
    queued_tasks = excluded.queued_tasks,
    monthly_credits = excluded.monthly_credits,
    free_tier_included = excluded.free_tier_included
RETURNING name AS plan, submits_per_minute, reads_per_minute, concurrent_tasks, queued_tasks, monthly_credits,
          free_tier_included
