//! Sealing: what may hold secrets lies in the database encrypted and authenticated (AES-256-GCM, RFC 5116), and bound
//! to the row and the column that it was written for.
//!
//! SQL seals and opens by the functions `seal(place, id, value)`, `unseal(place, id, sealed)` for text and
//! `unseal_bytes(place, id, sealed)`. A sealed value is: the byte 1, the key's name, the nonce, the encrypted value with
//! its tag.

use std::fmt;
use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Error};

pub(super) const KEY_BYTES: usize = 32;
const NAME_BYTES: usize = 4;
const HEAD_BYTES: usize = 1 + NAME_BYTES + NONCE_LEN;
const VERSION: u8 = 1;

/// Columns that are sealed, each with its table; the column's place is its name and the table's.
const SEALED: [(&str, &str); 6] = [
    ("spec", "spec"),
    ("task_spec", "spec"),
    ("journal", "record"),
    ("result", "finished"),
    ("result", "response"),
    ("response_body", "body"),
];

/// Tells keys apart and says nothing about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyName([u8; NAME_BYTES]);

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

struct Key {
    name: KeyName,
    key: LessSafeKey,
}

impl Key {
    fn new(bytes: &[u8; KEY_BYTES]) -> Self {
        let named = digest(&SHA256, &[b"longhaul key name".as_slice(), bytes].concat());
        let name = KeyName(named.as_ref()[..NAME_BYTES].try_into().expect("a digest is longer"));
        let key = UnboundKey::new(&AES_256_GCM, bytes).expect("the key has the length of the algorithm");
        Self { name, key: LessSafeKey::new(key) }
    }
}

/// The key that seals, and older ones that still open.
pub(super) struct Keyring {
    current: Key,
    older: Vec<Key>,
    random: SystemRandom,
}

impl Keyring {
    pub(super) fn new(current: &[u8; KEY_BYTES], older: &[[u8; KEY_BYTES]]) -> Self {
        Self {
            current: Key::new(current),
            older: older.iter().map(Key::new).collect(),
            random: SystemRandom::new(),
        }
    }

    pub(super) const fn current(&self) -> KeyName {
        self.current.name
    }

    pub(super) const fn has_older(&self) -> bool {
        !self.older.is_empty()
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.keys().any(|key| key.name.to_string() == name)
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.current).chain(&self.older)
    }

    fn seal(&self, place: &str, id: &[u8], value: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| SealError::NoRandom)?;
        let mut sealed = Vec::with_capacity(HEAD_BYTES + value.len() + AES_256_GCM.tag_len());
        sealed.push(VERSION);
        sealed.extend(self.current.name.0);
        sealed.extend(nonce);
        sealed.extend(value);
        let tag = self
            .current
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound_to(place, id)),
                &mut sealed[HEAD_BYTES..],
            )
            .map_err(|_| SealError::TooLong)?;
        sealed.extend(tag.as_ref());
        Ok(sealed)
    }

    fn unseal(&self, place: &str, id: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (head, rest) = sealed.split_at_checked(HEAD_BYTES).ok_or(SealError::Damaged)?;
        if head[0] != VERSION {
            return Err(SealError::Damaged);
        }
        let name = KeyName(head[1..=NAME_BYTES].try_into().expect("the head holds it"));
        let nonce = head[1 + NAME_BYTES..].try_into().expect("the head ends with it");
        let key = self.keys().find(|key| key.name == name).ok_or(SealError::UnknownKey(name))?;
        let mut value = rest.to_vec();
        let length = key
            .key
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(bound_to(place, id)), &mut value)
            .map_err(|_| SealError::Damaged)?
            .len();
        value.truncate(length);
        Ok(value)
    }

    /// Seals everything with the current key. Inside a transaction.
    pub(super) fn seal_anew(connection: &Connection) -> rusqlite::Result<()> {
        for (table, column) in SEALED {
            let place = format!("{table}.{column}");
            connection.execute(
                &format!(
                    "UPDATE {table} SET {column} = seal('{place}', id, unseal_bytes('{place}', id, {column}))
                     WHERE {column} IS NOT NULL"
                ),
                [],
            )?;
        }
        Ok(())
    }

    /// Makes the functions for SQL.
    pub(super) fn attach(self: &Arc<Self>, connection: &Connection) -> rusqlite::Result<()> {
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DIRECTONLY;
        let keys = Arc::clone(self);
        connection.create_scalar_function("seal", 3, flags, move |context| {
            call(context, |place, id, value| keys.seal(place, id, value).map(Value::Blob))
        })?;
        let keys = Arc::clone(self);
        connection.create_scalar_function("unseal", 3, flags, move |context| {
            call(context, |place, id, sealed| {
                let value = keys.unseal(place, id, sealed)?;
                String::from_utf8(value).map(Value::Text).map_err(|_| SealError::Damaged)
            })
        })?;
        let keys = Arc::clone(self);
        connection.create_scalar_function("unseal_bytes", 3, flags, move |context| {
            call(context, |place, id, sealed| keys.unseal(place, id, sealed).map(Value::Blob))
        })
    }
}

#[derive(Debug, thiserror::Error)]
enum SealError {
    #[error("it was sealed with the key {0}, which is not at hand")]
    UnknownKey(KeyName),
    #[error("it is not what was sealed")]
    Damaged,
    #[error("it is too long to be sealed")]
    TooLong,
    #[error("the system gives no random numbers")]
    NoRandom,
}

fn bound_to(place: &str, id: &[u8]) -> Vec<u8> {
    [place.as_bytes(), b"\0", id].concat()
}

fn call(
    context: &Context<'_>,
    work: impl FnOnce(&str, &[u8], &[u8]) -> Result<Value, SealError>,
) -> rusqlite::Result<ToSqlOutput<'static>> {
    let bytes = |index: usize| match context.get_raw(index) {
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => Ok(bytes),
        other => Err(Error::InvalidFunctionParameterType(index, other.data_type())),
    };
    if matches!(context.get_raw(2), ValueRef::Null) {
        return Ok(ToSqlOutput::Owned(Value::Null));
    }
    let place = context.get_raw(0).as_str().map_err(|error| Error::UserFunctionError(error.into()))?;
    work(place, bytes(1)?, bytes(2)?)
        .map(ToSqlOutput::Owned)
        .map_err(|error| Error::UserFunctionError(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealing(keys: Keyring) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        Arc::new(keys).attach(&connection).unwrap();
        connection
    }

    fn text(connection: &Connection, sql: &str, parameters: impl rusqlite::Params) -> Result<String, String> {
        connection.query_row(sql, parameters, |row| row.get(0)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_sealed_value_opens_in_its_place_alone() {
        let connection = sealing(Keyring::new(&[1; 32], &[]));
        let seal = |value: &str| -> Vec<u8> {
            connection.query_row("SELECT seal('t.c', x'01', ?)", [value], |row| row.get(0)).unwrap()
        };
        let sealed = seal("secret words");
        assert!(!sealed.windows(6).any(|window| window == b"secret"), "{sealed:?}");
        assert_ne!(sealed, seal("secret words"), "a nonce is used once");
        let open = |sql: &str| text(&connection, sql, [&sealed]);
        assert_eq!(open("SELECT unseal('t.c', x'01', ?)").unwrap(), "secret words");
        for elsewhere in ["SELECT unseal('t.d', x'01', ?)", "SELECT unseal('t.c', x'02', ?)"] {
            assert!(open(elsewhere).unwrap_err().contains("not what was sealed"));
        }
        for index in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[index] ^= 1;
            text(&connection, "SELECT unseal('t.c', x'01', ?)", [damaged]).unwrap_err();
        }
        text(&connection, "SELECT unseal('t.c', x'01', ?)", [&sealed[..10]]).unwrap_err();
    }

    #[test]
    fn an_older_key_opens_and_an_unknown_one_is_named() {
        let old = sealing(Keyring::new(&[1; 32], &[]));
        let sealed: Vec<u8> =
            old.query_row("SELECT seal('t.c', x'01', 'words')", [], |row| row.get(0)).unwrap();
        let open = |keys: Keyring| text(&sealing(keys), "SELECT unseal('t.c', x'01', ?)", [&sealed]);
        assert_eq!(open(Keyring::new(&[2; 32], &[[1; 32]])).unwrap(), "words");
        let name = Keyring::new(&[1; 32], &[]).current().to_string();
        assert!(open(Keyring::new(&[2; 32], &[])).unwrap_err().contains(&name));
    }

    #[test]
    fn nothing_stays_nothing() {
        let connection = sealing(Keyring::new(&[1; 32], &[]));
        let is_null = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, bool>(0)).unwrap();
        assert!(is_null("SELECT seal('t.c', x'01', NULL) IS NULL"));
        assert!(is_null("SELECT unseal('t.c', x'01', NULL) IS NULL"));
    }
}
