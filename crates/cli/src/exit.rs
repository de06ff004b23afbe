//! Exit codes, the one table of them.

use longhaul_contract::ErrorCode;

macro_rules! exits {
    ($($variant:ident = $number:literal, $title:literal, $meaning:literal;)+) => {
        /// How a command ends.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Exit { $($variant = $number),+ }

        impl Exit {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }

            const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }

            const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning),+ }
            }
        }
    };
}

exits! {
    Success = 0, "success", "The command did what it says. For `get` and `follow ID`: every file is complete, checked and has its final name.";
    Internal = 1, "failure", "Something that should not happen: the service or the command line failed, or a check of `doctor` or `verify` did. For `cond`: at least one condition does not hold. For `instance wait-cancel --timeout`: nobody asked the task to end.";
    Usage = 2, "usage", "The command line, a value in it, or what it asks for cannot be understood.";
    Unreachable = 3, "service unreachable", "The service is not there and could not be started, or the connection to it broke.";
    NotFound = 4, "not found", "No operation, task, group or application of this name, or an id prefix that fits several.";
    LocalFile = 5, "local file", "A file or folder of this machine stands in the way: it exists already, is missing, or cannot be read or written.";
    State = 6, "state", "The operation or task is in a state that does not allow the command; for `task request`: any answer but Allowed.";
    Quota = 7, "quota", "The application has as much as it may have.";
    Access = 8, "access", "The caller may not do this, or the token is missing or wrong.";
    TransferFailed = 9, "transfer failed", "At least one transfer ended as Error or Canceled. For `task run` and `task log` with `--follow`: the run ended in another way than Completed.";
    NeedsInput = 10, "waits for input", "No transfer failed, and at least one waits for a new address, header or credential. Its bytes are kept.";
    AlreadyRunning = 11, "already running", "`longhaul daemon` found another service at work in the same state folder or at the same socket.";
    Unknown = 12, "unknown", "For `cond`: no condition is known not to hold, and at least one is not known, because the machine has no source for it.";
    Interrupted = 130, "interrupted", "Ctrl-C. After `get` and `follow` the transfers go on in the background.";
}

impl Exit {
    /// The exit code of a refusal, by the table in the contract.
    #[must_use]
    pub fn of_refusal(code: ErrorCode) -> Self {
        let number = code.exit_code();
        Self::ALL.iter().copied().find(|exit| exit.code() == number).unwrap_or(Self::Internal)
    }
}

/// `docs/reference/exit-codes.md`, from the table.
#[must_use]
pub fn exit_codes_markdown() -> String {
    let mut text = String::from(
        "# Exit codes\n\nEvery command of `longhaul` ends with one of these. A refusal by the service keeps its word in the \
         message, and with `--json` in `code`.\n\n| Code | | Meaning |\n|---|---|---|\n",
    );
    for exit in Exit::ALL {
        text.push_str(&format!("| {} | {} | {} |\n", exit.code(), exit.title(), exit.meaning()));
    }
    text.push_str(
        "\n## Refusals by exit code\n\n| Code | Refusals ([problems.md](problems.md)) |\n|---|---|\n",
    );
    for exit in Exit::ALL {
        let words: Vec<_> = ErrorCode::ALL
            .iter()
            .filter(|code| Exit::of_refusal(**code) == *exit)
            .map(|code| format!("`{}`", code.word()))
            .collect();
        if !words.is_empty() {
            text.push_str(&format!("| {} | {} |\n", exit.code(), words.join(", ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_an_exit_code_of_the_table() {
        for code in ErrorCode::ALL {
            assert_eq!(Exit::of_refusal(*code).code(), code.exit_code(), "{code:?}");
        }
    }

    #[test]
    fn the_reference_names_every_exit_code_and_refusal() {
        let text = exit_codes_markdown();
        for exit in Exit::ALL {
            assert!(text.contains(&format!("| {} | {} |", exit.code(), exit.title())));
        }
        for code in ErrorCode::ALL {
            assert!(text.contains(&format!("`{}`", code.word())));
        }
    }
}
