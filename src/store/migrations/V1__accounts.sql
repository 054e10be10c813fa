-- Who may call: plans, accounts, keys. And the secrets that every replica shares.
--
-- The checks here are the rules; the code reads their names to say what was wrong.

CREATE TABLE plans (
    name               text    PRIMARY KEY CHECK (name ~ '^[a-z0-9._-]{1,64}$'),
    submits_per_minute integer NOT NULL CHECK (submits_per_minute BETWEEN 1 AND 1000000),
    reads_per_minute   integer NOT NULL CHECK (reads_per_minute BETWEEN 1 AND 1000000),
    concurrent_tasks   integer NOT NULL CHECK (concurrent_tasks BETWEEN 1 AND 1000000),
    free_tier_included boolean NOT NULL
);

INSERT INTO plans (name, submits_per_minute, reads_per_minute, concurrent_tasks, free_tier_included) VALUES
    ('free',       60,  600,  4, false),
    ('pro',       600, 6000, 32, false),
    ('unlimited', 600, 6000, 16, true);

CREATE TABLE accounts (
    id         uuid        PRIMARY KEY,
    name       text        NOT NULL CONSTRAINT accounts_name_unique UNIQUE
                           CHECK (name ~ '^[a-z0-9._-]{1,64}$'),
    plan       text        NOT NULL CONSTRAINT accounts_plan_known REFERENCES plans (name),
    -- True for the one account that the first start made.
    founding   boolean     NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE UNIQUE INDEX accounts_founding_once ON accounts (founding) WHERE founding;

CREATE TABLE api_keys (
    id         uuid        PRIMARY KEY,
    account_id uuid        NOT NULL CONSTRAINT api_keys_account_known REFERENCES accounts (id),
    name       text        NOT NULL
                           CHECK (char_length(name) BETWEEN 1 AND 100 AND name !~ '[[:cntrl:]]'),
    prefix     text        NOT NULL
                           CHECK (prefix ~ '^piooy_(live|test)_[0-9A-Za-z]{4}$'),
    hash       bytea       NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
    test       boolean     NOT NULL CHECK (test = starts_with(prefix, 'piooy_test_')),
    scopes     text[]      NOT NULL
                           CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['generate', 'read', 'keys', 'admin']),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz CONSTRAINT api_keys_expiry_ahead CHECK (expires_at > created_at),
    revoked_at timestamptz,
    -- Administration is always for real.
    CONSTRAINT api_keys_test_is_no_admin CHECK (NOT (test AND 'admin' = ANY (scopes)))
);

CREATE INDEX api_keys_of_account ON api_keys (account_id, id DESC);

-- A revoked key stays revoked, and nothing else about a key ever changes.
CREATE FUNCTION api_keys_only_revoke() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.revoked_at IS NOT NULL
        OR (to_jsonb(NEW) - 'revoked_at') IS DISTINCT FROM (to_jsonb(OLD) - 'revoked_at')
    THEN
        RAISE EXCEPTION 'a key can only be revoked, and only once';
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER api_keys_only_revoke BEFORE UPDATE ON api_keys
    FOR EACH ROW WHEN (NEW IS DISTINCT FROM OLD) EXECUTE FUNCTION api_keys_only_revoke();

CREATE TABLE secrets (
    name       text        PRIMARY KEY CHECK (name ~ '^[a-z0-9-]{1,64}$'),
    value      bytea       NOT NULL CHECK (octet_length(value) BETWEEN 16 AND 1024),
    created_at timestamptz NOT NULL DEFAULT now()
);
