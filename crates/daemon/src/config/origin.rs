//! Who said what a setting is.

use std::path::PathBuf;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// What the machine says of itself, by the place it says so.
    Machine(String),
    File(PathBuf),
    /// The name of the variable.
    Environment(String),
    Flag,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Machine(place) => write!(f, "machine, {place}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(variable) => write!(f, "${variable}"),
            Self::Flag => f.write_str("command line"),
        }
    }
}
