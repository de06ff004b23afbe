use std::os::unix::fs::symlink;

use crate::rig::{Rig, is, source};

#[tokio::test]
async fn a_zone_that_is_set_is_told_at_once() {
    let rig = Rig::bare();
    let etc = rig.root().join("etc");
    let mut watch = rig.watch().await;
    assert!(is(&watch.state().time_zone, &"UTC".to_owned()));
    // As timedated does it: a new link, renamed over the old one.
    for zone in ["Europe/Berlin", "Asia/Tokyo"] {
        symlink(format!("../usr/share/zoneinfo/{zone}"), etc.join(".#localtime")).unwrap();
        std::fs::rename(etc.join(".#localtime"), etc.join("localtime")).unwrap();
        watch.until(zone, |state| is(&state.time_zone, &zone.to_owned())).await;
        assert_eq!(source(&watch.state().time_zone), "/etc/localtime");
    }
    std::fs::remove_file(etc.join("localtime")).unwrap();
    std::fs::write(etc.join("timezone"), "Africa/Cairo\n").unwrap();
    watch.until("the file", |state| is(&state.time_zone, &"Africa/Cairo".to_owned())).await;
    std::fs::write(etc.join("localtime"), "TZif").unwrap();
    std::fs::write(etc.join("timezone"), "?\n").unwrap();
    watch.until("no name", |state| source(&state.time_zone).contains("ln -sf")).await;
}

#[tokio::test]
async fn a_folder_that_is_replaced_is_watched_anew() {
    let rig = Rig::bare();
    let etc = rig.root().join("etc");
    let mut watch = rig.watch().await;
    std::fs::remove_dir(&etc).unwrap();
    std::fs::create_dir(&etc).unwrap();
    symlink("/usr/share/zoneinfo/Asia/Tokyo", etc.join("localtime")).unwrap();
    watch.until("the new folder", |state| is(&state.time_zone, &"Asia/Tokyo".to_owned())).await;
    std::fs::remove_file(etc.join("localtime")).unwrap();
    symlink("/usr/share/zoneinfo/Asia/Seoul", etc.join("localtime")).unwrap();
    watch.until("its next link", |state| is(&state.time_zone, &"Asia/Seoul".to_owned())).await;
}

#[tokio::test]
async fn the_variable_holds_whatever_the_files_say() {
    let rig = Rig::bare();
    let machine = longhaul_host::Machine { time_zone: Some(":Asia/Kathmandu".to_owned()), ..rig.machine() };
    let watch = longhaul_host::HostWatch::open(machine).await;
    assert!(is(&watch.state().time_zone, &"Asia/Kathmandu".to_owned()));
    assert_eq!(source(&watch.state().time_zone), "TZ");
}
