-- People who sign in: who they are, which accounts they work for, their sessions, and the links that let them in.
--
-- Of every token only a SHA-256 is kept: each has 256 random bits, so nobody can try them all.

CREATE TABLE people (
    id            uuid        PRIMARY KEY,
    -- None: not told yet; such a person signs in by links alone.
    email         text        CHECK (char_length(email) BETWEEN 3 AND 254
                                     AND email ~ '^[^[:space:][:cntrl:]@]+@[^[:space:][:cntrl:]@]+$'),
    -- In the PHC string format. None: there is no password.
    password_hash text        CHECK (password_hash LIKE '$argon2id$%' AND char_length(password_hash) <= 256),
    -- May administer the server.
    operator      boolean     NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX people_email_once ON people (lower(email));

CREATE TABLE memberships (
    account_id uuid        NOT NULL REFERENCES accounts (id),
    person_id  uuid        NOT NULL REFERENCES people (id),
    role       text        NOT NULL CHECK (role IN ('OWNER', 'MEMBER', 'VIEWER')),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, person_id)
);

CREATE INDEX memberships_of_person ON memberships (person_id);

-- Whoever is no member any more has no session any more.
CREATE TABLE sessions (
    id           uuid        PRIMARY KEY,
    account_id   uuid        NOT NULL,
    person_id    uuid        NOT NULL,
    refresh_hash bytea       NOT NULL CHECK (octet_length(refresh_hash) = 32),
    -- The one before, which a second tab may show just after the first has changed it.
    before_hash  bytea       CHECK (octet_length(before_hash) = 32),
    created_at   timestamptz NOT NULL DEFAULT now(),
    refreshed_at timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    FOREIGN KEY (account_id, person_id) REFERENCES memberships (account_id, person_id) ON DELETE CASCADE
);

CREATE INDEX sessions_of_person ON sessions (person_id, id);
CREATE INDEX sessions_of_member ON sessions (account_id, person_id);

-- Links that work once.
CREATE TABLE login_links (
    id         uuid        PRIMARY KEY,
    hash       bytea       NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
    purpose    text        NOT NULL CHECK (purpose IN ('SIGN_IN', 'INVITATION')),
    account_id uuid        NOT NULL REFERENCES accounts (id),
    -- Who signs in.
    person_id  uuid,
    -- Who is invited, and as what.
    email      text        CHECK (char_length(email) BETWEEN 3 AND 254),
    role       text        CHECK (role IN ('OWNER', 'MEMBER', 'VIEWER')),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    FOREIGN KEY (account_id, person_id) REFERENCES memberships (account_id, person_id) ON DELETE CASCADE,
    CHECK ((purpose = 'SIGN_IN') = (person_id IS NOT NULL)),
    CHECK ((purpose = 'INVITATION') = (email IS NOT NULL AND role IS NOT NULL))
);

CREATE INDEX login_links_of_account ON login_links (account_id, id);
CREATE UNIQUE INDEX login_links_invite_once ON login_links (account_id, lower(email)) WHERE used_at IS NULL;

-- When each key was last used, to the minute. Beside the keys, of which nothing ever changes.
CREATE TABLE api_key_uses (
    key_id  uuid        PRIMARY KEY REFERENCES api_keys (id),
    used_at timestamptz NOT NULL
);
