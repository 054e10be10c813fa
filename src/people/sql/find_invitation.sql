SELECT login_links.account_id, accounts.name AS account, login_links.email, login_links.role,
       (SELECT people.id FROM people WHERE lower(people.email) = lower(login_links.email)) AS person_id
FROM login_links
JOIN accounts ON accounts.id = login_links.account_id
WHERE login_links.hash = $1
  AND login_links.purpose = 'INVITATION'
  AND login_links.used_at IS NULL
  AND login_links.expires_at > now()
