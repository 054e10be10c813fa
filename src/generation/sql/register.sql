-- Begins a node's lease. It waits for whoever is taking over the node's tasks, so whatever names the
-- node from here on stays the node's.
INSERT INTO nodes (id, leased_until)
VALUES ($1, now() + $2 * interval '1 millisecond')
ON CONFLICT (id) DO UPDATE SET leased_until = excluded.leased_until, lapsed = false
