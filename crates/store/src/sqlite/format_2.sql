-- Registrations of background tasks: all are read at start.
CREATE TABLE task (
    id BLOB NOT NULL PRIMARY KEY,
    app INTEGER NOT NULL,
    task_group TEXT,
    name TEXT NOT NULL,
    plan TEXT NOT NULL,
    state TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX task_by_app ON task (app);

-- What was asked for, with its secrets.
CREATE TABLE task_spec (
    id BLOB NOT NULL PRIMARY KEY,
    created INTEGER NOT NULL,
    spec TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Runs of tasks, numbered in the order of their beginning: clocks may be set back.
CREATE TABLE instance (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    task BLOB NOT NULL,
    app INTEGER NOT NULL,
    is_over INTEGER NOT NULL,
    instance TEXT NOT NULL
) STRICT;

CREATE INDEX instance_by_task ON instance (task, number);
CREATE INDEX instance_not_over ON instance (task) WHERE is_over = 0;

CREATE TABLE instance_output (
    id BLOB NOT NULL PRIMARY KEY,
    dropped INTEGER NOT NULL,
    output BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE access (
    app INTEGER NOT NULL PRIMARY KEY,
    status INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What the manifests and their programs were when they were last looked at.
CREATE TABLE manifest (
    app INTEGER NOT NULL PRIMARY KEY,
    identity TEXT NOT NULL
) STRICT, WITHOUT ROWID;
