//! Pressure by the kernel itself, of a control group in which the test makes some. Needs root.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use longhaul_contract::WorkCost;
use longhaul_lab::process::{Guarded, spawn};

use crate::rig::{Rig, is, source};

/// Where this machine has the second version of control groups.
fn hierarchy() -> PathBuf {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    let folder = mount.and_then(|line| line.split(' ').nth(1)).expect("the second version of control groups");
    PathBuf::from(folder)
}

struct Group(PathBuf);

impl Group {
    fn new() -> Self {
        let path = hierarchy().join(format!("longhaul-pressure-{}", std::process::id()));
        std::fs::create_dir(&path).expect("root may make a control group");
        Self(path)
    }

    /// Programs that want more processors than there are.
    fn spin(&self) -> Vec<Guarded> {
        let count = 4 * std::thread::available_parallelism().map_or(2, usize::from);
        let spin = || {
            let mut command = Command::new("sh");
            command.args(["-c", "while :; do :; done"]);
            let child = spawn(command).unwrap();
            std::fs::write(self.0.join("cgroup.procs"), child.pid().to_string()).unwrap();
            child
        };
        std::iter::repeat_with(spin).take(count).collect()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn link(group: &Path, root: &Path) {
    let folder = root.join("proc/pressure");
    std::fs::create_dir_all(&folder).unwrap();
    for name in ["cpu", "io", "memory"] {
        symlink(group.join(format!("{name}.pressure")), folder.join(name)).unwrap();
    }
}

#[tokio::test]
async fn more_work_than_the_machine_can_do_makes_work_dear_for_as_long_as_it_lasts() {
    let group = Group::new();
    let rig = Rig::bare();
    link(&group.0, rig.root());
    let mut watch = rig.watch().await;
    assert!(is(&watch.state().work_cost, &WorkCost::Low), "{:#?}", watch.state().work_cost);
    let spinners = group.spin();
    watch.until("dear", |state| is(&state.work_cost, &WorkCost::High)).await;
    assert_eq!(source(&watch.state().work_cost), "pressure (PSI)");
    drop(spinners);
    // Longer than the deadline of other changes: calm has to last.
    let calm = async {
        while !is(&watch.0.state().work_cost, &WorkCost::Low) {
            watch.0.next().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), calm).await.unwrap();
    assert_eq!(source(&watch.state().work_cost), "power and presence");
}
