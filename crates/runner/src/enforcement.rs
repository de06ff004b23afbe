//! Which of the wished limits really hold, and by what.

use std::fmt;

use longhaul_contract::instance::InstanceLimit;
pub use longhaul_contract::instance::LimitKind as Limit;
use serde::{Deserialize, Serialize};

/// What was wished and what became of it. A limit that was not wished is in neither list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforcement {
    pub enforced: Vec<Enforced>,
    pub not_enforced: Vec<NotEnforced>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforced {
    pub limit: Limit,
    pub means: Means,
    /// How far it holds, where that is less than the name says.
    pub remark: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotEnforced {
    pub limit: Limit,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Means {
    Cgroup,
    /// setrlimit(2).
    ResourceLimit,
    Landlock,
    Seccomp,
    Namespace,
}

impl Enforcement {
    pub(crate) fn hold(&mut self, limit: Limit, means: Means) {
        self.enforced.push(Enforced { limit, means, remark: None });
    }

    pub(crate) fn hold_partly(&mut self, limit: Limit, means: Means, remark: impl Into<String>) {
        self.enforced.push(Enforced { limit, means, remark: Some(remark.into()) });
    }

    pub(crate) fn miss(&mut self, limit: Limit, reason: impl Into<String>) {
        self.not_enforced.push(NotEnforced { limit, reason: reason.into() });
    }

    /// As callers are told of it: what holds first.
    #[must_use]
    pub fn limits(&self) -> Vec<InstanceLimit> {
        let enforced = self.enforced.iter().map(|enforced| InstanceLimit {
            limit: enforced.limit,
            is_enforced: true,
            means: Some(enforced.means.to_string()),
            detail: enforced.remark.clone(),
        });
        let missed = self.not_enforced.iter().map(|missed| InstanceLimit {
            limit: missed.limit,
            is_enforced: false,
            means: None,
            detail: Some(missed.reason.clone()),
        });
        enforced.chain(missed).collect()
    }

    #[must_use]
    pub fn holds(&self, limit: Limit) -> Option<&Enforced> {
        self.enforced.iter().find(|enforced| enforced.limit == limit)
    }
}

impl fmt::Display for Means {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Cgroup => "cgroup",
            Self::ResourceLimit => "setrlimit",
            Self::Landlock => "Landlock",
            Self::Seccomp => "seccomp",
            Self::Namespace => "namespace",
        })
    }
}

impl fmt::Display for NotEnforced {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.limit, self.reason)
    }
}
