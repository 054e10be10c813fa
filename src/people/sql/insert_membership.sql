INSERT INTO memberships (account_id, person_id, role)
VALUES ($1, $2, $3)
