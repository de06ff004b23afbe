//! Which triggers this host can fire, and what fires them.

use longhaul_contract::trigger::{SystemTriggerSupport, TriggerType};
use longhaul_contract::{HostState, Signal, SystemTriggerType, TriggerKind};
use longhaul_host::SupportTable;

/// Whether something can fire, and why, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Support {
    pub(crate) supported: bool,
    source: Option<String>,
    /// Why it cannot; or, where it can, what is missing for the moment.
    pub(crate) reason: Option<String>,
}

impl Support {
    fn by(source: &str) -> Self {
        Self { supported: true, source: Some(source.to_owned()), reason: None }
    }

    fn none(reason: &str) -> Self {
        Self { supported: false, source: None, reason: Some(reason.to_owned()) }
    }

    /// As the host says.
    fn told(support: longhaul_host::Support) -> Self {
        let longhaul_host::Support { is_supported, source, reason } = support;
        Self { supported: is_supported, source, reason }
    }

    /// A signal that has no source may still get one, or be set by an administrator.
    fn of<T>(signal: &Signal<T>, what: &str) -> Self {
        match signal {
            Signal::Known { source, .. } => Self::by(source),
            Signal::Unknown { reason } => Self {
                supported: true,
                source: None,
                reason: Some(format!(
                    "{what} is unknown at present ({reason}); `longhaul host set` can set it by hand"
                )),
            },
        }
    }
}

/// What a question about triggers depends on.
pub(crate) struct Reach {
    pub(crate) host: HostState,
    pub(crate) table: SupportTable,
}

pub(crate) fn support(kind: TriggerKind, reach: &Reach) -> Support {
    match kind {
        TriggerKind::SystemTrigger => Support::by("the machine's signals, each type for itself"),
        TriggerKind::TimeTrigger => Support::by("the machine's clocks"),
        TriggerKind::PushNotificationTrigger => Support::by("POST /push/{channel}"),
        TriggerKind::MaintenanceTrigger
        | TriggerKind::DeviceUseTrigger
        | TriggerKind::DeviceServicingTrigger
        | TriggerKind::DeviceConnectionChangeTrigger
        | TriggerKind::LocationTrigger
        | TriggerKind::BluetoothLEAdvertisementWatcherTrigger
        | TriggerKind::GattCharacteristicNotificationTrigger
        | TriggerKind::ActivitySensorTrigger => Support::told(reach.table.trigger(kind)),
        TriggerKind::MediaProcessingTrigger | TriggerKind::ApplicationTrigger => {
            Support::by("POST /background-tasks/{id}/request")
        }
        TriggerKind::CompletionGroupTrigger => Support::by("the transfers of the completion group"),
    }
}

pub(crate) fn system_support(event: SystemTriggerType, reach: &Reach) -> Support {
    let host = &reach.host;
    match event {
        SystemTriggerType::UserPresent | SystemTriggerType::UserAway => {
            Support::of(&host.user_present, "user presence")
        }
        SystemTriggerType::NetworkStateChange | SystemTriggerType::InternetAvailable => {
            Support::of(&host.network.level, "the network")
        }
        SystemTriggerType::SessionConnected => Support::of(&host.session_connected, "the session"),
        SystemTriggerType::ServicingComplete => Support::by("the application's manifest and its programs"),
        SystemTriggerType::TimeZoneChange => Support::of(&host.time_zone, "the time zone"),
        SystemTriggerType::BackgroundWorkCostChange => Support::of(&host.work_cost, "the work cost"),
        SystemTriggerType::PowerStateChange => Support::of(&host.power, "the power"),
        SystemTriggerType::SmsReceived | SystemTriggerType::ControlChannelReset => {
            Support::told(reach.table.system_trigger(event))
        }
        SystemTriggerType::LockScreenApplicationAdded | SystemTriggerType::LockScreenApplicationRemoved => {
            Support::by("the owner's list of applications that may always run: `longhaul access`")
        }
        SystemTriggerType::OnlineIdConnectedStateChange => Support::told(reach.table.system_trigger(event)),
        SystemTriggerType::DefaultSignInAccountChange => {
            Support::none("Linux has no default account to sign in with")
        }
    }
}

/// `GET /background-tasks/triggers`.
pub(crate) fn all(reach: &Reach) -> Vec<TriggerType> {
    TriggerKind::ALL.iter().map(|kind| view(*kind, reach)).collect()
}

fn view(kind: TriggerKind, reach: &Reach) -> TriggerType {
    let Support { supported, source, reason } = support(kind, reach);
    let system_trigger_types = match kind {
        TriggerKind::SystemTrigger => SystemTriggerType::ALL
            .iter()
            .map(|event| {
                let Support { supported, source, reason } = system_support(*event, reach);
                SystemTriggerSupport { system_trigger_type: *event, supported, source, reason }
            })
            .collect(),
        _ => Vec::new(),
    };
    TriggerType {
        kind,
        description: kind.description().to_owned(),
        requires_lock_screen: false,
        supports_one_shot: kind.supports_one_shot(),
        supported,
        source,
        reason,
        system_trigger_types,
    }
}
