//! Activity, from files that stand for the kernel's sensors.

use std::path::PathBuf;
use std::time::Duration;

use longhaul_contract::TriggerKind;
use longhaul_host::HostChange;
use longhaul_host::wants::{Activity, Want, WantId};

use crate::rig::{Rig, Watch};

const ID: WantId = WantId([3; 16]);

fn sensor(rig: &Rig) -> PathBuf {
    let folder = rig.root().join("sys/bus/iio/devices/iio:device0");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn set(folder: &std::path::Path, word: &str, certainty: u32) {
    std::fs::write(folder.join(format!("in_activity_{word}_input")), format!("{certainty}\n")).unwrap();
}

fn walking(kept: Option<serde_json::Value>) -> Want {
    Want::Activity { activities: vec![Activity::Walking], interval: Duration::from_secs(1), kept }
}

async fn next(watch: &mut Watch) -> HostChange {
    watch.event().await
}

#[tokio::test]
async fn activity_is_told_by_sensors_that_know_it_when_it_changes() {
    let rig = Rig::bare();
    let folder = sensor(&rig);
    set(&folder, "still", 95);
    set(&folder, "walking", 5);
    let mut watch = rig.watch().await;
    assert_eq!(watch.0.support().borrow().activities(), [Activity::Stationary, Activity::Walking]);
    watch.0.wants().send_modify(|wants| drop(wants.insert(ID, walking(None))));
    let HostChange::Kept(ID, kept) = next(&mut watch).await else { panic!("the first look is kept") };
    assert_eq!(kept["activity"], "Stationary");
    set(&folder, "still", 10);
    set(&folder, "walking", 90);
    let HostChange::Wanted(ID, details) = next(&mut watch).await else { panic!("it walks") };
    assert_eq!(
        (&details["reports"][0]["activity"], &details["reports"][0]["confidence"]),
        (&"Walking".into(), &"High".into())
    );
}

#[tokio::test]
async fn activity_goes_on_from_what_was_kept() {
    let rig = Rig::bare();
    let folder = sensor(&rig);
    set(&folder, "walking", 90);
    let mut watch = rig.watch().await;
    let kept = serde_json::json!({ "activity": "Stationary" });
    watch.0.wants().send_modify(|wants| drop(wants.insert(ID, walking(Some(kept)))));
    assert!(matches!(next(&mut watch).await, HostChange::Wanted(ID, _)), "it began while nobody looked");
}

#[tokio::test]
async fn activity_needs_a_sensor() {
    let rig = Rig::bare();
    let watch = rig.watch().await;
    let support = watch.0.support().borrow().trigger(TriggerKind::ActivitySensorTrigger);
    assert!(!support.is_supported && support.reason.is_some(), "{support:?}");
    std::fs::write(sensor(&rig).join("in_accel_x_raw"), "0").unwrap();
    let watch = rig.watch().await;
    let support = watch.0.support().borrow().trigger(TriggerKind::ActivitySensorTrigger);
    assert!(support.source.is_some_and(|source| source.contains("accelerometer")));
}
