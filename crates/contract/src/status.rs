//! The words and numbers of the transfer API.

use serde::{Deserialize, Serialize};

macro_rules! numbered_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $number:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[repr(u8)]
        pub enum $name { $($(#[$vmeta])* $variant = $number),+ }

        impl $name {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The number the Windows API gives this word.
            #[must_use]
            pub const fn number(self) -> u8 {
                self as u8
            }

            /// The word with this number.
            #[must_use]
            pub fn from_number(number: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|word| word.number() == number)
            }

            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|known| known.word().eq_ignore_ascii_case(word)).ok_or_else(|| {
                    let words: Vec<_> = Self::ALL.iter().map(|known| known.word()).collect();
                    format!("{word:?} is not one of {}", words.join(", "))
                })
            }
        }
    };
}
pub(crate) use numbered_enum;

numbered_enum! {
    /// Status of an operation (BackgroundTransferStatus).
    TransferStatus {
        /// Created and not started, or waiting for its turn.
        Idle = 0,
        /// Being transferred, or between two attempts of which the next is already scheduled.
        Running = 1,
        PausedByApplication = 2,
        PausedCostedNetwork = 3,
        PausedNoNetwork = 4,
        Completed = 5,
        Canceled = 6,
        Error = 7,
        /// A failure the caller said it can repair; bytes are kept.
        PausedRecoverableWebErrorStatus = 8,
        /// The machine lacks something: energy, disk space, the destination folder, an allowance.
        PausedSystemPolicy = 32,
    }
}

impl TransferStatus {
    /// Completed, Canceled and Error are final.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Canceled | Self::Error)
    }
}

numbered_enum! {
    /// Which network costs an operation accepts (BackgroundTransferCostPolicy).
    CostPolicy {
        /// Allowed on metered networks, but not when roaming or on track to exceed the data limit.
        Default = 0,
        /// Only on networks that cost nothing.
        UnrestrictedOnly = 1,
        /// Whatever it costs.
        Always = 2,
    }
}

numbered_enum! {
    /// Place in the application's queue (BackgroundTransferPriority).
    Priority { Default = 0, High = 1, Low = 2 }
}

numbered_enum! {
    OperationKind { Download = 0, Upload = 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_numbers_are_those_of_windows() {
        let numbers: Vec<_> = TransferStatus::ALL.iter().map(|s| s.number()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 32]);
        assert_eq!(serde_json::to_string(&TransferStatus::PausedNoNetwork).unwrap(), "\"PausedNoNetwork\"");
    }
}
