//! Which reason codes are of transfers alone, and which of tasks alone. Each side's words name the other's codes as a
//! whole, so that a new code does not compile before it is in one of these lists or has its words.

/// Codes that no operation ever has.
macro_rules! codes_of_tasks {
    () => {
        ReasonCode::NotFired
            | ReasonCode::Consumed
            | ReasonCode::AccessUnspecified
            | ReasonCode::AccessDenied
            | ReasonCode::UserPresent
            | ReasonCode::UserNotPresent
            | ReasonCode::InternetAvailable
            | ReasonCode::InternetNotAvailable
            | ReasonCode::SessionConnected
            | ReasonCode::SessionDisconnected
            | ReasonCode::FreeNetworkAvailable
            | ReasonCode::BackgroundWorkCostNotHigh
            | ReasonCode::ExternalPower
            | ReasonCode::BatteryPower
            | ReasonCode::InstanceRunning
            | ReasonCode::TasksAtOnce
            | ReasonCode::TasksAtOncePerApplication
            | ReasonCode::Quarantined
            | ReasonCode::RetryDelay
            | ReasonCode::ProgramNotConnected
            | ReasonCode::ClockUntrusted
            | ReasonCode::Flapping
            | ReasonCode::ServiceStopping
    };
}

/// Codes that no task ever has.
macro_rules! codes_of_transfers {
    () => {
        ReasonCode::NotStarted
            | ReasonCode::PausedByApplication
            | ReasonCode::NotBefore
            | ReasonCode::NetworkLevel
            | ReasonCode::NetworkCost
            | ReasonCode::ForegroundOnly
            | ReasonCode::RunningAtOnce
            | ReasonCode::RunningAtOncePerApplication
            | ReasonCode::ConnectionsPerHost
            | ReasonCode::GroupSerialized
            | ReasonCode::Backoff
            | ReasonCode::RateLimitZero
            | ReasonCode::DiskSpace
            | ReasonCode::Folder
            | ReasonCode::ReadOnly
            | ReasonCode::Portal
            | ReasonCode::Resources
            | ReasonCode::Store
            | ReasonCode::NeedsInput
            | ReasonCode::Stopping
            | ReasonCode::Finished
    };
}

pub(crate) use codes_of_tasks;
pub(crate) use codes_of_transfers;
