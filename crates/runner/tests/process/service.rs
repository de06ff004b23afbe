//! The service dies, and nothing that it ran outlives it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::world::{GONE_WITHIN, World, alive, holds_within, lab, marked, until};

#[tokio::test]
async fn killing_the_service_kills_all_it_ran() {
    let world = World::new();
    let marks = world.marks();
    let mut service = Command::new(lab())
        .args(["service".as_ref(), world.folder().join("service-run").as_os_str(), marks.as_os_str()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a service");
    let mut line = String::new();
    let stdout = service.stdout.take().expect("its output");
    BufReader::new(stdout).read_line(&mut line).expect("a line");
    assert_eq!(line, "running\n");
    until("all monsters run", || marked(&marks).len() >= 9).await;
    let mut all = marked(&marks);
    all.extend(ancestors(&all, service.id()));
    service.kill().expect("it can be killed");
    service.wait().expect("it has ended");
    assert!(holds_within(GONE_WITHIN, || alive(&all).is_empty()).await, "{:?} live on", alive(&all));
    assert!(alive(&marked(&marks)).is_empty());
}

/// The supervisors and the launcher between the service and what it ran.
fn ancestors(processes: &std::collections::HashSet<u32>, service: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for process in processes {
        let mut pid = *process;
        loop {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
            match parent {
                Some(parent) if parent > 1 && parent != service => {
                    found.push(parent);
                    pid = parent;
                }
                _ => break,
            }
        }
    }
    assert!(!found.is_empty(), "nobody between the service and its programs");
    found
}
