SELECT name AS plan, submits_per_minute, reads_per_minute, concurrent_tasks, queued_tasks, monthly_credits,
       free_tier_included
FROM plans
ORDER BY name
