INSERT INTO identities (issuer, subject, person_id, email)
VALUES ($1, $2, $3, $4)
