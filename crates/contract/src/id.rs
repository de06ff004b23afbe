//! Typed identities.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

macro_rules! uuid_identity {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(transparent)]
        pub struct $name(pub uuid::Uuid);

        impl $name {
            /// Makes an id for `milliseconds` after the Unix epoch out of ten further bytes.
            #[must_use]
            pub fn from_parts(milliseconds: u64, further: &[u8; 10]) -> Self {
                Self(uuid::Builder::from_unix_timestamp_millis(milliseconds, further).into_uuid())
            }

            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(uuid::Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                uuid::Uuid::parse_str(text).map(Self)
            }
        }
    };
}

uuid_identity! {
    /// Identity of one download or upload: a UUIDv7, so that ids sort by creation time.
    OperationId
}

uuid_identity! {
    /// Identity of one registration of a background task (BackgroundTaskRegistration.TaskId): a UUIDv7.
    TaskId
}

uuid_identity! {
    /// Identity of one run of a background task (IBackgroundTaskInstance.InstanceId): a UUIDv7.
    InstanceId
}

uuid_identity! {
    /// Identity of one completion group (BackgroundTransferCompletionGroup): a UUIDv7.
    CompletionGroupId
}

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {name:?} {problem}")]
pub struct InvalidName {
    pub what: &'static str,
    pub name: String,
    pub problem: &'static str,
}

/// Identity of an application: a reverse-DNS name such as `org.example.Photos`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "org.example.Photos")]
pub struct AppId(Arc<str>);

impl AppId {
    /// The application a local caller is taken for when it names none.
    pub const DEFAULT: &'static str = "io.longhaul.cli";

    /// # Errors
    /// Refuses what is not 1 to 255 characters of `A-Z a-z 0-9 - _ .` with at least two parts.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let refuse = |problem| InvalidName { what: "application id", name: name.to_owned(), problem };
        if name.is_empty() || name.len() > 255 {
            return Err(refuse("must be 1 to 255 characters long"));
        }
        if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            return Err(refuse("may contain only letters, digits, '-', '_' and '.'"));
        }
        if name.split('.').count() < 2 || name.split('.').any(str::is_empty) {
            return Err(refuse("must be a reverse-DNS name such as org.example.Photos"));
        }
        Ok(Self(name.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for AppId {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

/// Name of a transfer group, unique within its application (BackgroundTransferGroup.Name).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "photos")]
pub struct GroupName(Arc<str>);

impl GroupName {
    /// # Errors
    /// Refuses an empty name, one of more than 256 characters and control characters.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        free_text("group name", name).map(Self)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Name of a background task, unique among its application's tasks of one group (BackgroundTaskBuilder.Name).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, min_length = 1, max_length = 256, example = "nightly upload")]
pub struct TaskName(Arc<str>);

impl TaskName {
    /// # Errors
    /// Refuses an empty name, one of more than 256 characters and control characters.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        free_text("task name", name).map(Self)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Identity of a group of tasks (BackgroundTaskRegistrationGroup.Id).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, min_length = 1, max_length = 256, example = "org.example.sync")]
pub struct TaskGroupId(Arc<str>);

impl TaskGroupId {
    /// # Errors
    /// Refuses an empty id, one of more than 256 characters and control characters.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        free_text("task group", name).map(Self)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn free_text(what: &'static str, name: &str) -> Result<Arc<str>, InvalidName> {
    let refuse = |problem| InvalidName { what, name: name.to_owned(), problem };
    if name.is_empty() || name.chars().count() > 256 {
        return Err(refuse("must be 1 to 256 characters long"));
    }
    if name.chars().any(char::is_control) {
        return Err(refuse("must not contain control characters"));
    }
    Ok(name.into())
}

macro_rules! name_traits {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = InvalidName;

            fn try_from(name: String) -> Result<Self, Self::Error> {
                Self::new(&name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.as_str().to_owned()
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                Self::new(name)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }
    };
}

name_traits!(AppId);
name_traits!(GroupName);
name_traits!(TaskName);
name_traits!(TaskGroupId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn application_ids_are_reverse_dns() {
        assert!(AppId::new("org.example.Photos").is_ok());
        for bad in ["", "photos", "org..x", ".org.x", "org.ex ample", "org.exämple", &"a.".repeat(200)] {
            assert!(AppId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_sort_by_time() {
        let early = OperationId::from_parts(1_000, &[255; 10]);
        let late = OperationId::from_parts(1_001, &[0; 10]);
        assert!(early < late);
        assert_eq!(early.to_string().parse::<OperationId>().unwrap(), early);
    }
}
