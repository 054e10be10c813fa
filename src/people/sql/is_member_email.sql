SELECT EXISTS (
    SELECT FROM memberships
    JOIN people ON people.id = memberships.person_id
    WHERE memberships.account_id = $1 AND lower(people.email) = lower($2)
)
