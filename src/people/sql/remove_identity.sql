DELETE FROM identities
WHERE person_id = $1 AND issuer = $2
