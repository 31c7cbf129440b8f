-- Stream keys. A secret is kept as its SHA-256 only: it is random and long, so that nothing can be found from the digest.

CREATE TABLE stream_keys (
    id TEXT PRIMARY KEY,            -- shown in lists and logs
    digest BLOB NOT NULL UNIQUE,    -- SHA-256 of the secret
    label TEXT NOT NULL,
    paths TEXT NOT NULL,            -- JSON array of patterns
    direction TEXT NOT NULL,        -- publish, play or both
    tier TEXT NOT NULL,
    tenant TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    changed_ms INTEGER NOT NULL,    -- sessions that were opened with an older secret end
    expires_ms INTEGER,
    revoked_ms INTEGER,
    passphrase TEXT,                -- as it is: SRT derives its keys from it
    bitrate INTEGER,
    viewers INTEGER,
    minutes INTEGER,
    used_seconds INTEGER NOT NULL   -- of the minutes
) STRICT;

-- Tells a running moqgate that somebody changed a key.
CREATE TABLE stream_keys_version (version INTEGER NOT NULL) STRICT;
INSERT INTO stream_keys_version VALUES (0);
