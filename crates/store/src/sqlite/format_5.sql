-- What may hold secrets is sealed (see seal.rs).
CREATE TABLE sealed_spec (
    id BLOB NOT NULL PRIMARY KEY,
    app INTEGER NOT NULL,
    created INTEGER NOT NULL,
    started INTEGER,
    spec BLOB NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO sealed_spec SELECT id, app, created, started, seal('spec.spec', id, spec) FROM spec;
DROP TABLE spec;
ALTER TABLE sealed_spec RENAME TO spec;

CREATE TABLE sealed_task_spec (
    id BLOB NOT NULL PRIMARY KEY,
    created INTEGER NOT NULL,
    spec BLOB NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO sealed_task_spec SELECT id, created, seal('task_spec.spec', id, spec) FROM task_spec;
DROP TABLE task_spec;
ALTER TABLE sealed_task_spec RENAME TO task_spec;

CREATE TABLE sealed_result (
    id BLOB NOT NULL PRIMARY KEY,
    finished BLOB,
    response BLOB
) STRICT, WITHOUT ROWID;

INSERT INTO sealed_result
    SELECT id, seal('result.finished', id, finished), seal('result.response', id, response) FROM result;
DROP TABLE result;
ALTER TABLE sealed_result RENAME TO result;

UPDATE journal SET record = seal('journal.record', id, record);
UPDATE response_body SET body = seal('response_body.body', id, body);
