//! What the machine can tell, as daemons come and go.

use longhaul_contract::{Condition, SystemTriggerType, TriggerKind};
use longhaul_host::Support;

use crate::rig::Rig;

/// Supported, the source, the reason.
fn short(support: &Support) -> (bool, &str, &str) {
    (
        support.is_supported,
        support.source.as_deref().unwrap_or_default(),
        support.reason.as_deref().unwrap_or_default(),
    )
}

#[tokio::test]
async fn every_row_has_a_source_or_a_reason() {
    for rig in [Rig::bare(), Rig::with_bus()] {
        let watch = rig.watch().await;
        let table = watch.0.support().borrow().clone();
        let triggers = TriggerKind::ALL.iter().map(|kind| table.trigger(*kind));
        let events = SystemTriggerType::ALL.iter().map(|event| table.system_trigger(*event));
        let conditions = Condition::ALL.iter().map(|condition| table.condition(*condition));
        for support in triggers.chain(events).chain(conditions) {
            assert_eq!(support.is_supported, support.source.is_some(), "{support:?}");
            assert!(support.is_supported || support.reason.is_some(), "{support:?}");
        }
        // These need no daemon at all.
        for kind in [
            TriggerKind::TimeTrigger,
            TriggerKind::ApplicationTrigger,
            TriggerKind::PushNotificationTrigger,
            TriggerKind::CompletionGroupTrigger,
            TriggerKind::MaintenanceTrigger,
        ] {
            assert!(table.trigger(kind).is_supported, "{kind}");
        }
        assert!(table.system_trigger(SystemTriggerType::TimeZoneChange).is_supported);
        assert!(table.condition(Condition::InternetAvailable).is_supported);
        assert!(!table.condition(Condition::UserPresent).is_supported);
    }
}

#[tokio::test]
async fn a_daemon_that_was_there_is_only_away() {
    const LOGIN: &str = "org.freedesktop.login1";
    let rig = Rig::with_bus();
    let mut watch = rig.watch().await;
    let table = watch.0.support();
    let row = || table.borrow().condition(Condition::SessionConnected);
    assert!(short(&row()).2.starts_with("logind is not on the system bus: "));
    let mut logind = rig.bus.start_template("logind", LOGIN, "{}");
    watch.until("there", |state| state.session_connected.value().is_some()).await;
    assert_eq!(short(&row()), (true, "logind", ""));
    logind.kill();
    watch.until("gone", |state| state.session_connected.value().is_none()).await;
    assert_eq!(short(&row()), (true, "logind", "logind has stopped; it is listened for"));
}

#[tokio::test]
async fn a_modem_manager_without_a_modem_says_so() {
    const MODEMS: &str = "org.freedesktop.ModemManager1";
    let rig = Rig::with_bus();
    let watch = rig.watch().await;
    let sms =
        |watch: &crate::rig::Watch| watch.0.support().borrow().system_trigger(SystemTriggerType::SmsReceived);
    assert!(short(&sms(&watch)).2.contains("install the package modemmanager"));
    let _daemon = rig.bus.start_empty(MODEMS, "/org/freedesktop/ModemManager1", MODEMS);
    let watch = rig.watch().await;
    let support = sms(&watch);
    let (is_supported, source, reason) = short(&support);
    assert!(is_supported && source == "ModemManager" && reason.starts_with("no modem"), "{support:?}");
}

#[tokio::test]
async fn a_zone_by_variable_never_changes() {
    let rig = Rig::bare();
    let machine = longhaul_host::Machine { time_zone: Some("Asia/Tokyo".to_owned()), ..rig.machine() };
    let watch = longhaul_host::HostWatch::open(machine).await;
    let support = watch.support().borrow().system_trigger(SystemTriggerType::TimeZoneChange);
    assert!(!support.is_supported && support.reason.is_some_and(|reason| reason.contains("TZ")));
}
