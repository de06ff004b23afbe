-- Uploads: the body of the server's answer, as far as it is kept. Bodies may be large, so rows lie beside their key.
CREATE TABLE response_body (
    id BLOB NOT NULL PRIMARY KEY,
    is_cut INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

-- Completion groups, and what few operations ask for (see the engine's Marks).
CREATE TABLE completion_group (
    id BLOB NOT NULL PRIMARY KEY,
    app INTEGER NOT NULL,
    created INTEGER NOT NULL,
    state TEXT NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE live ADD COLUMN completion_group BLOB;
ALTER TABLE live ADD COLUMN marks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE ended ADD COLUMN completion_group BLOB;
ALTER TABLE ended ADD COLUMN marks INTEGER NOT NULL DEFAULT 0;

CREATE INDEX live_by_completion_group ON live (completion_group, id) WHERE completion_group IS NOT NULL;
CREATE INDEX ended_by_completion_group ON ended (completion_group, id) WHERE completion_group IS NOT NULL;
