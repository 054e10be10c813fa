-- Who people are to OpenID providers.

CREATE TABLE identities (
    issuer     text        NOT NULL CHECK (char_length(issuer) <= 2000),
    -- At most 255 characters of ASCII (OpenID Connect Core 1.0 §2).
    subject    text        NOT NULL CHECK (char_length(subject) BETWEEN 1 AND 255),
    person_id  uuid        NOT NULL REFERENCES people (id),
    -- As the provider told it when the two were connected; for show.
    email      text        CHECK (char_length(email) <= 254),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (issuer, subject),
    UNIQUE (person_id, issuer)
);
