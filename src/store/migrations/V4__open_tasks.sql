-- Open tasks, by the node whose they are and by deadline.
DROP INDEX tasks_open;
CREATE INDEX tasks_open ON tasks (node_id, deadline_at) WHERE finished_at IS NULL;
