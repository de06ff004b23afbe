//! Entry points on a message bus of the test's own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use longhaul_runner::{Bus, BusLaunch, Outcome, Running, StartError};

use crate::world::{GONE_WITHIN, GRACE, World, holds_within, is_alive, lab, until, within};

const NAME: &str = "org.example.Bus-Lab";

pub(crate) struct BusWorld {
    world: World,
    daemon: Child,
    pub(crate) address: String,
}

impl Drop for BusWorld {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

impl BusWorld {
    pub(crate) fn new() -> Self {
        let world = World::new();
        let folder = world.folder();
        fs::create_dir(folder.join("services")).expect("a folder");
        let service = format!("[D-BUS Service]\nName={NAME}\nExec={} bus {NAME}\n", lab().display());
        fs::write(folder.join("services/lab.service"), service).expect("a service");
        let broken = "[D-BUS Service]\nName=org.example.Broken\nExec=/bin/false\n";
        fs::write(folder.join("services/broken.service"), broken).expect("a service");
        let (socket, services) = (folder.join("bus"), folder.join("services"));
        let configuration = format!(
            "<busconfig><type>session</type><listen>unix:path={}</listen><servicedir>{}</servicedir>
             <policy context='default'><allow send_destination='*'/><allow receive_sender='*'/><allow own='*'/></policy></busconfig>",
            socket.display(),
            services.display()
        );
        fs::write(folder.join("bus.conf"), configuration).expect("a configuration");
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", folder.join("bus.conf").display()))
            .args(["--nofork", "--nopidfile", "--print-address"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("dbus-daemon");
        let mut address = String::new();
        let stdout = daemon.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut address).expect("its address");
        // Without the guid, which a later bus at the same place would not have.
        let place = address.trim().split(',').next().unwrap_or_default().to_owned();
        Self { world, daemon, address: place }
    }

    fn launch(&self, class: &str) -> BusLaunch {
        BusLaunch {
            bus: Bus::Address(self.address.clone()),
            name: NAME.to_owned(),
            class: class.to_owned(),
            task_id: "task-1".to_owned(),
            instance_id: format!("instance-of-{class}"),
            details: "{\"a\":1}".to_owned(),
        }
    }

    async fn start(&self, class: &str) -> Running {
        within(self.world.runner.start_on_bus(self.launch(class))).await.expect("a start")
    }
}

#[tokio::test]
async fn it_is_activated_and_answers_with_progress_before() {
    let world = BusWorld::new();
    let running = world.start("Return").await;
    let command = fs::read_to_string(format!("/proc/{}/cmdline", running.pid())).expect("its process");
    assert!(command.contains("bus\0org.example.Bus-Lab"), "{command:?}");
    let mut progress = running.progress();
    let ended = within(running.wait()).await;
    assert!(ended.is_success() && ended.outcome == Outcome::Returned, "{ended:?}");
    let last = *progress.borrow_and_update();
    assert_eq!(last, Some(70_000));
    let again = world.start("Return").await;
    assert_eq!(again.pid(), running.pid(), "the program that runs already is used again");
    within(again.wait()).await;
}

#[tokio::test]
async fn an_error_is_told_with_its_name_and_message() {
    let world = BusWorld::new();
    let ended = within(world.start("Fail").await.wait()).await;
    let message = "task-1 instance-of-Fail {\"a\":1}".to_owned();
    assert_eq!(ended.outcome, Outcome::Failed { error: "org.example.Failed".to_owned(), message });
    let ended = within(world.start("Nonsense").await.wait()).await;
    assert!(matches!(&ended.outcome, Outcome::Failed { error, .. } if error == "org.example.NoSuchClass"));
}

#[tokio::test]
async fn it_can_answer_a_cancel() {
    let world = BusWorld::new();
    let running = world.start("Wait").await;
    within(running.progress().wait_for(|progress| *progress == Some(1))).await.expect("it waits");
    running.cancel("EnergySaver", GRACE);
    running.cancel("Abort", GRACE);
    let ended = within(running.wait()).await;
    let message = "canceled: EnergySaver".to_owned();
    assert_eq!(ended.outcome, Outcome::Failed { error: "org.example.Canceled".to_owned(), message });
    assert_eq!(ended.canceled.as_deref(), Some("EnergySaver"));
    assert!(is_alive(running.pid()), "the program itself goes on");
}

#[tokio::test]
async fn one_that_does_not_answer_is_killed_with_what_descends_from_it() {
    let world = BusWorld::new();
    let running = world.start("Stubborn").await;
    within(running.progress().wait_for(|progress| *progress == Some(1))).await.expect("it has begun");
    let children = format!("/proc/{0}/task/{0}/children", running.pid());
    until("its descendant is there", || fs::read_to_string(&children).is_ok_and(|all| !all.is_empty())).await;
    let child: u32 = fs::read_to_string(&children).expect("children").trim().parse().expect("a number");
    let asked = Instant::now();
    running.cancel("Abort", Duration::from_millis(300));
    let ended = within(running.wait()).await;
    assert_eq!((&ended.outcome, ended.survivors), (&Outcome::Killed, 0));
    assert!(asked.elapsed() >= Duration::from_millis(300));
    let pid = running.pid();
    assert!(holds_within(GONE_WITHIN, || !is_alive(pid) && !is_alive(child)).await);
    assert_eq!(
        within(world.start("Return").await.wait()).await.outcome,
        Outcome::Returned,
        "the bus starts it anew"
    );
}

#[tokio::test]
async fn dropping_the_handle_ends_it_too() {
    let world = BusWorld::new();
    let running = world.start("Wait").await;
    let pid = running.pid();
    drop(running);
    assert!(holds_within(GONE_WITHIN, || !is_alive(pid)).await);
}

#[tokio::test]
async fn a_crash_is_told_and_the_next_one_runs() {
    let world = BusWorld::new();
    let ended = within(world.start("Crash").await.wait()).await;
    assert!(matches!(&ended.outcome, Outcome::Lost { why } if why.contains("left the bus")), "{ended:?}");
    assert_eq!(within(world.start("Return").await.wait()).await.outcome, Outcome::Returned);
}

#[tokio::test]
async fn says_why_it_does_not_start() {
    let world = BusWorld::new();
    let mut launch = world.launch("Return");
    for (name, detail) in [("org.example.Nobody", "ServiceUnknown"), ("org.example.Broken", "ChildExited")] {
        launch.name = name.to_owned();
        let refused = within(world.world.runner.start_on_bus(launch.clone())).await;
        let Err(StartError::Program { program, source }) = &refused else { panic!("{refused:?}") };
        assert!(program == name && source.to_string().contains(detail), "{source}");
    }
    launch.name = "no name".to_owned();
    let refused = within(world.world.runner.start_on_bus(launch.clone())).await;
    assert!(matches!(refused, Err(StartError::Bus { .. })), "{refused:?}");
    launch.bus = Bus::Address("unix:path=/nonexistent".to_owned());
    let refused = within(world.world.runner.start_on_bus(launch)).await;
    assert!(matches!(refused, Err(StartError::Bus { .. })), "{refused:?}");
}

/// A bus that went away and came back does not need a new runner.
#[tokio::test]
async fn a_new_bus_at_the_same_address_is_used() {
    let mut first = BusWorld::new();
    assert_eq!(within(first.start("Return").await.wait()).await.outcome, Outcome::Returned);
    let waiting = first.start("Wait").await;
    first.daemon.kill().expect("it can be killed");
    first.daemon.wait().expect("it has ended");
    let ended = within(waiting.wait()).await;
    assert!(matches!(ended.outcome, Outcome::Lost { .. }), "{ended:?}");
    let folder = first.world.folder();
    let _ = fs::remove_file(folder.join("bus"));
    first.daemon = Command::new("dbus-daemon")
        .arg(format!("--config-file={}", folder.join("bus.conf").display()))
        .args(["--nofork", "--nopidfile"])
        .spawn()
        .expect("dbus-daemon");
    let address = folder.join("bus");
    until("the bus is there", || std::os::unix::net::UnixStream::connect(&address).is_ok()).await;
    assert_eq!(within(first.start("Return").await.wait()).await.outcome, Outcome::Returned);
}
