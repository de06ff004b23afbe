//! What went wrong, for the person who gave the command.

use std::fmt;

use longhaul_client::ClientError;
use longhaul_contract::Problem;

use crate::exit::Exit;
use crate::text::escape;

/// Why a command ends early.
#[derive(Debug)]
pub struct Trouble {
    pub(crate) exit: Exit,
    /// One sentence, not escaped yet.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) advice: Option<String>,
    /// The refusal of the service this comes from.
    pub(crate) problem: Option<Box<Problem>>,
}

impl Trouble {
    /// A command cannot go on.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), advice: None, problem: None }
    }

    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A file of this machine that could not be read or written.
    pub(crate) fn file(path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(Exit::LocalFile, format!("{}: {error}", path.display()))
    }

    /// Writing to standard output failed.
    pub(crate) fn output(error: &std::io::Error) -> Self {
        Self::new(Exit::LocalFile, format!("standard output: {error}"))
    }

    /// One JSON document, for `--json`.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.problem {
            Some(problem) => serde_json::json!({ "exitCode": self.exit.code(), "problem": problem }),
            None => serde_json::json!({
                "exitCode": self.exit.code(),
                "message": self.message,
                "advice": self.advice,
            }),
        }
    }
}

/// Safe to write to a terminal.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.message))
    }
}

impl std::error::Error for Trouble {}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(problem) => Self {
                exit: Exit::of_refusal(problem.code),
                message: problem.to_string(),
                advice: Some(problem.remedy.clone()),
                problem: Some(problem),
            },
            ClientError::Unreachable { .. } => Self::new(Exit::Unreachable, error.to_string())
                .advise("See what is wrong with `longhaul doctor`."),
            ClientError::Protocol { .. } => Self::new(Exit::Internal, error.to_string())
                .advise("Command line and service may be of different versions: see `longhaul doctor`."),
        }
    }
}
