-- Names that many rows share.
CREATE TABLE application (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- behavior is NULL for a group that is only named by operations.
CREATE TABLE transfer_group (
    number INTEGER PRIMARY KEY,
    app INTEGER NOT NULL,
    name TEXT NOT NULL,
    behavior INTEGER,
    UNIQUE (app, name)
) STRICT;

CREATE TABLE origin (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    is_local INTEGER NOT NULL,
    UNIQUE (name, is_local)
) STRICT;

-- The hot rows: all of them are read at start, so nothing else lies between them.
CREATE TABLE live (
    app INTEGER NOT NULL,
    id BLOB NOT NULL,
    kind INTEGER NOT NULL,
    transfer_group INTEGER,
    origin INTEGER NOT NULL,
    target INTEGER,
    place INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    cost_policy INTEGER NOT NULL,
    rate_limit INTEGER,
    not_before INTEGER,
    recoverable TEXT,
    phase INTEGER NOT NULL,
    failure TEXT,
    fruitless_attempts INTEGER NOT NULL,
    has_bytes INTEGER NOT NULL,
    PRIMARY KEY (app, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX live_by_group ON live (transfer_group, id) WHERE transfer_group IS NOT NULL;

-- Rows of final operations. The columns up to has_bytes are those of live.
CREATE TABLE ended (
    app INTEGER NOT NULL,
    id BLOB NOT NULL,
    kind INTEGER NOT NULL,
    transfer_group INTEGER,
    origin INTEGER NOT NULL,
    target INTEGER,
    place INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    cost_policy INTEGER NOT NULL,
    rate_limit INTEGER,
    not_before INTEGER,
    recoverable TEXT,
    phase INTEGER NOT NULL,
    failure TEXT,
    fruitless_attempts INTEGER NOT NULL,
    has_bytes INTEGER NOT NULL,
    completed INTEGER NOT NULL,
    consumed INTEGER,
    keep_until INTEGER NOT NULL,
    received INTEGER NOT NULL,
    total INTEGER NOT NULL,
    PRIMARY KEY (app, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX ended_by_group ON ended (transfer_group, id) WHERE transfer_group IS NOT NULL;
CREATE INDEX ended_unconsumed ON ended (app, id) WHERE consumed IS NULL;
CREATE INDEX ended_by_keep_until ON ended (keep_until, id);

-- What was asked for, one row for each operation that is known.
CREATE TABLE spec (
    id BLOB NOT NULL PRIMARY KEY,
    app INTEGER NOT NULL,
    created INTEGER NOT NULL,
    started INTEGER,
    spec TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What a final operation leaves behind.
CREATE TABLE result (
    id BLOB NOT NULL PRIMARY KEY,
    finished TEXT,
    response TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE journal (
    id BLOB NOT NULL PRIMARY KEY,
    received INTEGER NOT NULL,
    total INTEGER NOT NULL,
    record BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE wait (
    id BLOB NOT NULL,
    began INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (id, began, ended, reason)
) STRICT, WITHOUT ROWID;

CREATE TABLE wait_total (
    id BLOB NOT NULL,
    reason TEXT NOT NULL,
    micros INTEGER NOT NULL,
    PRIMARY KEY (id, reason)
) STRICT, WITHOUT ROWID;

CREATE TABLE token (
    hash BLOB NOT NULL PRIMARY KEY,
    app INTEGER NOT NULL,
    scopes TEXT NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE setting (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
