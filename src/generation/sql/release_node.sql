-- Lets go of everything that a node works on, so that others need not wait for its lease to run
-- out.
UPDATE nodes SET leased_until = now() WHERE id = $1
