SELECT name AS plan, submits_per_minute, reads_per_minute, concurrent_tasks, queued_tasks, monthly_credits,
       free_tier_included
FROM plans
WHERE name = $1
FOR NO KEY UPDATE
