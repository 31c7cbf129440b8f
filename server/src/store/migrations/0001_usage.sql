-- What is billed. One account per session, broadcast and direction; one record per account and interval.

CREATE TABLE usage_accounts (
    id INTEGER PRIMARY KEY,
    node TEXT NOT NULL,
    boot INTEGER NOT NULL,      -- which run of the process: its start in milliseconds since the Unix epoch
    number INTEGER NOT NULL,    -- unique in that run
    tenant TEXT NOT NULL,
    tier TEXT NOT NULL,
    protocol TEXT NOT NULL,
    path TEXT NOT NULL,
    session TEXT NOT NULL,
    direction TEXT NOT NULL,    -- ingress or egress
    final INTEGER NOT NULL,     -- whether its last record is written
    UNIQUE (boot, number)
) STRICT;

-- Accounts that a killed process left open.
CREATE INDEX usage_accounts_open ON usage_accounts (boot) WHERE final = 0;

CREATE TABLE usage_records (
    position INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice, so that an export can remember how far it is
    account INTEGER NOT NULL REFERENCES usage_accounts (id),
    sequence INTEGER NOT NULL,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    groups INTEGER NOT NULL,
    frames INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    fetches INTEGER NOT NULL,
    datagrams INTEGER NOT NULL,
    active_ms INTEGER NOT NULL, -- how long somebody watched (egress) or published (ingress)
    reason TEXT,                -- why the account ended; only in its last record
    UNIQUE (account, sequence)
) STRICT;

CREATE INDEX usage_records_by_time ON usage_records (to_ms);

-- The last batch of records of each run, so that a commit of which nobody knows whether it succeeded is never repeated.
CREATE TABLE usage_batches (
    boot INTEGER PRIMARY KEY,
    batch INTEGER NOT NULL
) STRICT;

-- How far each endpoint has taken the records.
CREATE TABLE usage_exports (
    endpoint TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT;
