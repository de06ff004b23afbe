//! A player reads and seeks in a film that is still being downloaded.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use longhaul_endtoend::{DOWNLOADS, House, QUICK, shown, status_of};
use longhaul_lab::process::program;
use longhaul_lab::servers::{ServerKind, WebServer};
use longhaul_lab::{ServiceOptions, wait_until};
use serde_json::{Value, json};

const SECONDS: u32 = 60;

/// A film of a minute whose index is at its end, so that a player has to seek before it can show anything.
fn make_film(path: &Path) {
    let output = Command::new(program("ffmpeg", "ffmpeg"))
        .args([
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            &format!("testsrc=duration={SECONDS}:size=640x360:rate=25"),
        ])
        .args(["-f", "lavfi", "-i", &format!("sine=duration={SECONDS}")])
        .args([
            "-c:v", "mpeg4", "-b:v", "1M", "-minrate", "1M", "-maxrate", "1M", "-bufsize", "2M", "-c:a",
            "aac",
        ])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", shown(&output));
}

struct Showing {
    house: House,
    id: String,
    token: String,
}

impl Showing {
    /// Runs ffprobe or ffmpeg on the content as a program without a Unix socket has it.
    fn play(&self, name: &str, before: &[&str], after: &[&str]) -> Output {
        let url = format!("http://{}{DOWNLOADS}/{}/content", self.house.address().unwrap(), self.id);
        Command::new(program(name, "ffmpeg"))
            .args(["-v", "error", "-headers", &format!("Authorization: Bearer {}\r\n", self.token)])
            .args(before)
            .args(["-i", &url])
            .args(after)
            .output()
            .unwrap()
    }
}

#[test]
fn a_player_seeks_in_a_half_downloaded_film() {
    let server = WebServer::start_with(ServerKind::Nginx, Some(400 << 10));
    let film = server.root().join("film.mp4");
    make_film(&film);
    let size = std::fs::metadata(&film).unwrap().len();
    assert!(size > 4_000_000, "the film is large enough to be watched coming: {size}");
    let house = House::with(ServiceOptions {
        config: format!("{QUICK}segments-max = 2\n"),
        is_listening: true,
        ..ServiceOptions::default()
    });
    let made = house.send("POST", "/apps/io.longhaul.cli/tokens", &json!({ "scopes": ["read"] }));
    let token = made.expect_status(201).json()["token"].as_str().unwrap().to_owned();
    let mut spec = house.spec(&server.url("/film.mp4"), "film.mp4");
    spec["isRandomAccessRequired"] = true.into();
    let id = house.create(&spec);
    house.wait_for_bytes(&id, 200_000);
    let showing = Showing { house, id, token };

    let begun = Instant::now();
    let probe = showing.play("ffprobe", &[], &["-show_format", "-show_streams", "-of", "json"]);
    assert!(probe.status.success(), "{}", shown(&probe));
    let told: Value = serde_json::from_slice(&probe.stdout).unwrap();
    let length: f64 = told["format"]["duration"].as_str().unwrap().parse().unwrap();
    assert!((length - f64::from(SECONDS)).abs() < 1.0, "{told:#}");
    assert_eq!(told["streams"].as_array().unwrap().len(), 2);

    // One picture from near the end, while most of what lies before it is missing.
    let picture = showing.house.folder().join("picture.png");
    let seek = showing.play("ffmpeg", &["-ss", "50"], &["-frames:v", "1", picture.to_str().unwrap()]);
    assert!(seek.status.success(), "{}", shown(&seek));
    assert!(std::fs::metadata(&picture).unwrap().len() > 1_000);
    let operation = showing.house.operation(&showing.id);
    assert_eq!(
        status_of(&operation),
        "Running",
        "it was shown before it was complete: {:?}",
        begun.elapsed()
    );

    wait_until("the end of the download", Duration::from_secs(60), || {
        (status_of(&showing.house.operation(&showing.id)) == "Completed").then_some(())
    });
    assert_eq!(std::fs::read(showing.house.result("film.mp4")).unwrap(), std::fs::read(&film).unwrap());
}
