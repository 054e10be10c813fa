-- Removes nodes that ended long ago and left nothing behind.
DELETE FROM nodes AS n
WHERE n.lapsed
  AND n.leased_until < now() - interval '1 day'
  AND NOT EXISTS (SELECT FROM tasks AS t WHERE t.node_id = n.id AND t.finished_at IS NULL)
