-- Uploads: the body of the server's answer, as far as it is kept. Bodies may be large, so rows lie beside their key.
CREATE TABLE response_body (
    id BLOB NOT NULL PRIMARY KEY,
    is_cut INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
