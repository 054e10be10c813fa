-- Accounts' own keys for upstreams. Keys are sealed before they come here, so whoever reads the table alone has none.
CREATE TABLE upstream_keys (
    created_at  timestamptz NOT NULL DEFAULT now(),
    -- When another one took its place. Tasks that were accepted with it still run with it.
    replaced_at timestamptz,
    account_id  uuid        NOT NULL,
    -- UUIDv7.
    id          uuid        NOT NULL,
    upstream    text        NOT NULL CHECK (char_length(upstream) BETWEEN 1 AND 64),
    -- Which of the server's secrets it is sealed with: the beginning of a hash of that.
    sealed_with bytea       NOT NULL CHECK (octet_length(sealed_with) = 8),
    -- Nonce, ciphertext, tag.
    sealed      bytea       NOT NULL CHECK (octet_length(sealed) BETWEEN 28 AND 1100),
    -- Its last characters, for people.
    tail        text        NOT NULL CHECK (char_length(tail) <= 4),
    PRIMARY KEY (account_id, id)
);

CREATE UNIQUE INDEX upstream_keys_current ON upstream_keys (account_id, upstream) WHERE replaced_at IS NULL;
