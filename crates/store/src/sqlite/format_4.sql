-- Registrations that unregistered themselves, numbered in the order of that. Their instances stay with them.
CREATE TABLE past_task (
    number INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    app INTEGER NOT NULL,
    name TEXT NOT NULL,
    created INTEGER NOT NULL,
    vanished INTEGER NOT NULL
) STRICT;

CREATE INDEX past_task_by_app ON past_task (app, number);
