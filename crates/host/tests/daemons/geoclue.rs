//! Places that are entered and left, by positions of the real GeoClue.

use std::time::Duration;

use longhaul_contract::{Timestamp, TriggerKind};
use longhaul_host::HostChange;
use longhaul_host::wants::{Fence, Fences, Want, WantId};
use longhaul_lab::{Geoclue, Receiver};

use crate::rig::{Rig, Watch};

const ID: WantId = WantId([9; 16]);

fn home() -> Want {
    let home = Fence {
        id: "home".to_owned(),
        latitude: 52.5,
        longitude: 13.4,
        radius: 200.0,
        tells_entered: true,
        tells_exited: true,
        dwell: Duration::from_millis(500),
        is_single_use: false,
        starts: None,
        duration: None,
    };
    Want::Fences(Fences { fences: vec![home], since: Timestamp::now(), kept: None })
}

async fn next_state(watch: &mut Watch) -> serde_json::Value {
    loop {
        if let HostChange::Wanted(id, details) = watch.event().await {
            assert_eq!(id, ID);
            return details["reports"][0]["newState"].clone();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_entered_and_left_also_over_a_restart_of_the_daemon() {
    let rig = Rig::with_bus();
    let receiver = Receiver::default();
    receiver.go_to(52.51, 13.4);
    let mut watch = rig.watch().await;
    let support = watch.0.support();
    let row = || support.borrow().trigger(TriggerKind::LocationTrigger);
    assert!(row().reason.is_some_and(|reason| reason.contains("geoclue-2.0")), "it can never be");
    let mut geoclue = Geoclue::start(&rig.bus, rig.root(), &receiver);
    watch.0.wants().send_modify(|wants| drop(wants.insert(ID, home())));
    receiver.go_to(52.5, 13.4);
    assert_eq!(next_state(&mut watch).await, "Entered");
    assert_eq!(row().reason, None);
    geoclue.stop();
    receiver.go_to(52.51, 13.4);
    geoclue.launch(&rig.bus);
    assert_eq!(next_state(&mut watch).await, "Exited", "what happened meanwhile is found");
}
