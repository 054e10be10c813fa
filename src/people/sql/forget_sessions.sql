DELETE FROM sessions
WHERE person_id = $1
  AND (expires_at <= now()
       OR id IN (SELECT id FROM sessions WHERE person_id = $1 ORDER BY id DESC OFFSET $2))
