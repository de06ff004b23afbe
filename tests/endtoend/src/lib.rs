//! What the end-to-end tests share: a service with a caller's view of it.
//!
//! The tests see only what a caller sees: the program, its HTTP calls, files and other processes. Nothing of the
//! workspace but the lab is linked in, so that a renamed field breaks a test and not both sides at once.

mod far;
mod uploads;

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;

use longhaul_lab::{Answer, Service, ServiceOptions, wait_until};
use serde_json::{Value, json};

pub use far::Far;
pub use uploads::{UPLOADS, sent};

pub const DOWNLOADS: &str = "/background-transfers/downloads";
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Retries without long pauses, and little between two checkpoints.
pub const QUICK: &str = r#"
[engine]
retry-delay-min = "50ms"
retry-delay-max = "400ms"
blocked-delay = "200ms"
settle = "50ms"

[transfer]
stall-timeout = "10s"
checkpoint-interval = "200ms"
"#;

/// A service and the downloads a test makes in it.
pub struct House {
    service: Service,
}

impl Deref for House {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}

impl DerefMut for House {
    fn deref_mut(&mut self) -> &mut Service {
        &mut self.service
    }
}

impl Default for House {
    fn default() -> Self {
        Self::new()
    }
}

impl House {
    /// A running service of [`QUICK`] settings.
    #[must_use]
    pub fn new() -> Self {
        Self::with(ServiceOptions { config: QUICK.to_owned(), ..ServiceOptions::default() })
    }

    #[must_use]
    pub fn with(options: ServiceOptions) -> Self {
        Self { service: Service::start(options) }
    }

    /// A running service with further configuration behind [`QUICK`].
    #[must_use]
    pub fn configured(more: &str) -> Self {
        Self::with(ServiceOptions { config: format!("{QUICK}\n{more}"), ..ServiceOptions::default() })
    }

    /// Folders without a service.
    #[must_use]
    pub fn empty() -> Self {
        Self::prepared(ServiceOptions { config: QUICK.to_owned(), ..ServiceOptions::default() })
    }

    /// Folders for a service that is started later.
    #[must_use]
    pub fn prepared(options: ServiceOptions) -> Self {
        Self { service: Service::prepare(options) }
    }

    #[must_use]
    pub fn result(&self, name: &str) -> PathBuf {
        self.results().join(name)
    }

    /// The body that asks for `url` as `name` in the folder of results.
    #[must_use]
    pub fn spec(&self, url: &str, name: &str) -> Value {
        json!({ "requestedUri": url, "resultFile": self.result(name) })
    }

    /// Creates a download and returns its id.
    #[must_use]
    #[track_caller]
    pub fn create(&self, spec: &Value) -> String {
        let answer = self.api().post(DOWNLOADS, spec).expect("the service answers").expect_status(201);
        id_of(&answer.json())
    }

    /// Creates and starts a download of `url`.
    #[must_use]
    #[track_caller]
    pub fn get(&self, url: &str, name: &str) -> String {
        self.create(&self.spec(url, name))
    }

    #[track_caller]
    pub fn call(&self, method: &str, path: &str) -> Answer {
        self.api().call(method, path, None).expect("the service answers")
    }

    /// Sends JSON.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        let body = body.to_string();
        let body = Some(("application/json", body.as_bytes()));
        self.api().call(method, path, body).expect("the service answers")
    }

    #[must_use]
    #[track_caller]
    pub fn operation(&self, id: &str) -> Value {
        self.call("GET", &format!("{DOWNLOADS}/{id}")).expect_status(200).json()
    }

    /// What a sub-resource of the download holds, such as `receipt`.
    #[must_use]
    #[track_caller]
    pub fn of(&self, id: &str, what: &str) -> Value {
        self.call("GET", &format!("{DOWNLOADS}/{id}/{what}")).expect_status(200).json()
    }

    /// Gives a command such as `pause`, which must be obeyed.
    #[track_caller]
    pub fn command(&self, id: &str, command: &str) -> Value {
        self.call("POST", &format!("{DOWNLOADS}/{id}/{command}")).expect_status(200).json()
    }

    #[track_caller]
    pub fn patch(&self, id: &str, patch: &Value) -> Value {
        self.send("PATCH", &format!("{DOWNLOADS}/{id}"), patch).expect_status(200).json()
    }

    /// Waits until the download has this status; panics as soon as it has ended otherwise.
    #[track_caller]
    pub fn wait_for_status(&self, id: &str, status: &str) -> Value {
        wait_until(&format!("status {status} of {id}"), DEADLINE, || {
            let operation = self.operation(id);
            let now = status_of(&operation);
            let is_final = ["Completed", "Canceled", "Error"].contains(&now.as_str());
            assert!(!is_final || now == status, "{operation:#}\n{}", self.log());
            (now == status).then_some(operation)
        })
    }

    #[track_caller]
    pub fn wait_for_bytes(&self, id: &str, bytes: u64) {
        wait_until(&format!("{bytes} bytes of {id}"), DEADLINE, || {
            let operation = self.operation(id);
            assert_ne!(operation["status"], "Error", "{operation:#}");
            (received(&operation) >= bytes).then_some(())
        });
    }

    #[track_caller]
    pub fn complete(&self, id: &str) -> Value {
        self.wait_for_status(id, "Completed")
    }

    /// Kills the service in the middle of a download, starts it again, and returns the receipt of a download that was
    /// completed without a restart.
    #[track_caller]
    pub fn completes_over_a_kill(&mut self, id: &str) -> Value {
        self.kill();
        self.launch();
        self.complete(id);
        let receipt = self.of(id, "receipt");
        assert_eq!(receipt["restarts"], 0, "{receipt:#}");
        receipt
    }

    /// All downloads of the application, page by page.
    #[must_use]
    #[track_caller]
    pub fn list(&self, query: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let page =
                self.call("GET", &format!("{DOWNLOADS}?limit=1000{query}{cursor}")).expect_status(200).json();
            items.extend(page["items"].as_array().expect("a list has items").iter().cloned());
            match page["nextCursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }
}

#[must_use]
#[track_caller]
pub fn id_of(operation: &Value) -> String {
    operation["id"].as_str().unwrap_or_else(|| panic!("no id in {operation}")).to_owned()
}

#[must_use]
pub fn status_of(operation: &Value) -> String {
    operation["status"].as_str().unwrap_or_default().to_owned()
}

#[must_use]
pub fn received(operation: &Value) -> u64 {
    operation["progress"]["bytesReceived"].as_u64().unwrap_or(0)
}

/// Whether the long versions of tests were asked for.
#[must_use]
pub fn is_full() -> bool {
    std::env::var_os("LONGHAUL_FULL").is_some_and(|value| value == "1")
}

/// Standard output and error of a command, for messages.
#[must_use]
pub fn shown(output: &Output) -> String {
    format!(
        "{}\n--- standard output\n{}\n--- standard error\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Panics unless the command ended with this code.
#[track_caller]
pub fn assert_exit(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", shown(output));
}

/// Runs a command that must end well, and returns its standard output without the line's end.
///
/// # Panics
/// It ends otherwise.
#[track_caller]
pub fn ok(house: &House, arguments: &[&str]) -> String {
    let output = house.run(arguments);
    assert!(output.status.success(), "{arguments:?}\n{}\n{}", shown(&output), house.log());
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// How often each thread of a process has given up or lost the processor, by the thread's number.
///
/// # Panics
/// There is no such process.
#[must_use]
pub fn switches(pid: u32) -> BTreeMap<String, u64> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process is there");
    let count = |status: String| {
        let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
        lines.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum()
    };
    threads
        .filter_map(|thread| {
            let path = thread.ok()?.path();
            // It may end between the two looks.
            let status = std::fs::read_to_string(path.join("status")).unwrap_or_default();
            Some((path.file_name()?.to_string_lossy().into_owned(), count(status)))
        })
        .collect()
}
