//! What waits for the disk goes on as soon as it can. The service's own second look lies ten minutes away in these
//! tests, so only being told (or, for room, looking) can bring it on.

use std::path::Path;
use std::time::{Duration, Instant};

use longhaul_endtoend::{House, QUICK};
use longhaul_lab::disk::Disk;
use longhaul_lab::{Content, Resource, Server, ServiceOptions};
use serde_json::json;

/// For what the kernel tells.
const PROMPT: Duration = Duration::from_secs(3);
/// For room: two looks.
const PATIENT: Duration = Duration::from_secs(11);

struct Scene {
    house: House,
    server: Server,
    content: Content,
}

impl Scene {
    fn new() -> Self {
        let config = QUICK.replace("blocked-delay = \"200ms\"", "blocked-delay = \"10m\"");
        assert_ne!(config, QUICK);
        let content = Content::new(1, 3_000_000);
        Self {
            house: House::with(ServiceOptions { config, ..ServiceOptions::default() }),
            server: Server::of(Resource::new(content)),
            content,
        }
    }

    /// A download of 3 MB that has not been started, so that its folder can change before it is.
    fn prepared(&self, file: &Path) -> String {
        let spec = json!({ "requestedUri": self.server.url("/f"), "resultFile": file, "start": false });
        self.house.create(&spec)
    }

    #[track_caller]
    fn blocks(&self, id: &str, code: &str) {
        self.house.command(id, "start");
        let waiting = self.house.wait_for_status(id, "PausedSystemPolicy");
        assert_eq!(waiting["waiting"][0]["code"], code, "{waiting:#}");
    }

    #[track_caller]
    fn goes_on_within(&self, id: &str, limit: Duration, since: Instant, file: &Path) {
        self.house.complete(id);
        let took = since.elapsed();
        println!("went on and was complete after {took:?}");
        assert!(took < limit, "{took:?}\n{}", self.house.log());
        self.content.assert_file(file);
    }
}

#[test]
fn a_folder_that_is_made_again_is_noticed() {
    let scene = Scene::new();
    let folder = scene.house.results().join("deep/er");
    std::fs::create_dir_all(&folder).unwrap();
    let id = scene.prepared(&folder.join("film"));
    std::fs::remove_dir_all(scene.house.results().join("deep")).unwrap();
    scene.blocks(&id, "folder");
    let since = Instant::now();
    std::fs::create_dir(scene.house.results().join("deep")).unwrap();
    std::fs::create_dir(&folder).unwrap();
    scene.goes_on_within(&id, PROMPT, since, &folder.join("film"));
}

#[test]
fn a_folder_that_is_moved_back_is_noticed_time_after_time() {
    let scene = Scene::new();
    let (folder, away) = (scene.house.results().join("here"), scene.house.results().join("away"));
    std::fs::create_dir(&folder).unwrap();
    for round in 0..3 {
        let file = folder.join(format!("film{round}"));
        let id = scene.prepared(&file);
        std::fs::rename(&folder, &away).unwrap();
        scene.blocks(&id, "folder");
        let since = Instant::now();
        std::fs::rename(&away, &folder).unwrap();
        scene.goes_on_within(&id, PROMPT, since, &file);
    }
}

#[test]
fn a_drive_that_is_plugged_in_again_is_noticed() {
    let scene = Scene::new();
    let mut disk = Disk::tmpfs(8 << 20);
    let folder = disk.path().join("films");
    std::fs::create_dir(&folder).unwrap();
    let id = scene.prepared(&folder.join("film"));
    disk.pull();
    scene.blocks(&id, "folder");
    let since = Instant::now();
    disk.plug_in_tmpfs(8 << 20);
    std::fs::create_dir(&folder).unwrap();
    scene.goes_on_within(&id, PROMPT, since, &folder.join("film"));
}

#[test]
fn a_disk_that_may_be_written_again_is_noticed() {
    let scene = Scene::new();
    let disk = Disk::tmpfs(8 << 20);
    let file = disk.path().join("film");
    let id = scene.prepared(&file);
    disk.set_read_only(true).unwrap();
    scene.blocks(&id, "readOnly");
    let since = Instant::now();
    disk.set_read_only(false).unwrap();
    scene.goes_on_within(&id, PROMPT, since, &file);
}

#[test]
fn room_that_is_made_is_noticed() {
    let scene = Scene::new();
    let disk = Disk::tmpfs(6 << 20);
    let filler = disk.fill(1_000_000);
    let file = disk.path().join("film");
    let id = scene.prepared(&file);
    scene.blocks(&id, "diskSpace");
    // Room counts from here on: what was made before is found by the operation itself, after its delay.
    longhaul_lab::wait_until("the watch", PROMPT, || {
        scene.house.log().contains("the disk is watched").then_some(())
    });
    let since = Instant::now();
    std::fs::remove_file(filler).unwrap();
    scene.goes_on_within(&id, PATIENT, since, &file);
}

#[test]
fn nothing_is_watched_once_nothing_waits() {
    let scene = Scene::new();
    let folder = scene.house.results().join("here");
    let watches = || {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", scene.house.pid())).unwrap();
        let names = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        names
            .filter(|name| {
                let name = name.to_string_lossy();
                name.contains("inotify") || name.ends_with("/mountinfo")
            })
            .count()
    };
    // The time zone and the manifests are watched all the time.
    let always = watches();
    std::fs::create_dir(&folder).unwrap();
    let id = scene.prepared(&folder.join("film"));
    std::fs::remove_dir(&folder).unwrap();
    scene.blocks(&id, "folder");
    longhaul_lab::wait_until("the watch", PROMPT, || (watches() == always + 2).then_some(()));
    scene.house.command(&id, "pause");
    longhaul_lab::wait_until("the end of the watch", PROMPT, || (watches() == always).then_some(()));
}
