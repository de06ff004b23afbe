//! What happens to the world, made from a seed. Events carry all their randomness, so that leaving one out
//! changes nothing about the others.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

#[derive(Debug, Clone)]
pub enum Event {
    Create(Create),
    /// A completion group, and a task that waits for it.
    NewSet {
        app: u8,
    },
    /// One of the completion groups is closed, or closed again.
    Enable {
        which: usize,
    },
    /// A command to one of the operations there are.
    Command {
        which: usize,
        command: Command,
    },
    Group {
        app: u8,
        name: u8,
        is_serialized: bool,
    },
    Limits(NewLimits),
    /// Something happens to one of the workers there are.
    Work {
        which: usize,
        work: Work,
        notices_stop: bool,
    },
    /// A report of an attempt that is long over arrives.
    LateReport {
        which: usize,
    },
    /// A part file that is to be discarded is gone.
    Discard {
        which: usize,
    },
    Host(Machine),
    Disk {
        is_full: bool,
    },
    /// Time passes; the engine is woken whenever it asks for it.
    Wait {
        milliseconds: u64,
    },
    ClockJump {
        seconds: i64,
    },
    /// The commit that has been gathered is written.
    Commit,
    /// Lazy changes are written without a sync.
    CommitLazily,
    CommitFails,
    /// Power is lost; `lands` says whether the commit under way made it to the disk.
    Crash {
        lands: bool,
        off_seconds: i64,
    },
}

#[derive(Debug, Clone)]
pub struct Create {
    pub app: u8,
    pub host: u8,
    pub group: Option<u8>,
    pub priority: u8,
    pub cost_policy: u8,
    pub start: bool,
    pub delay_seconds: Option<i64>,
    pub rate: Option<u64>,
    pub is_recoverable: bool,
    pub size: u64,
    pub count: u8,
    /// Which completion group of the application they want to join, if there is one.
    pub set: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Start,
    Pause,
    Resume,
    Cancel,
    Remove,
    Consume,
    MakeCurrent,
    Priority(u8),
    CostPolicy(u8),
    Rate(Option<u64>),
    Renew { host: u8 },
}

#[derive(Debug, Clone)]
pub struct NewLimits {
    pub running_at_once: u32,
    pub per_application: u32,
    pub per_host: u32,
    pub rate: Option<u64>,
    /// Hours (UTC) of every day in which nothing may move.
    pub closed_hours: Option<(u8, u8)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Receive {
        bytes: u64,
    },
    Checkpoint,
    /// The file appears under its name; the report comes later.
    Publish,
    Report,
    Reset,
    ServerError {
        retry_after: Option<u32>,
    },
    Forbidden,
    NotFound,
    Changed,
    Permanent,
    NoNetwork,
    /// It lets go if asked to.
    LetGo,
}

/// What the machine is like, as the world knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    pub level: Option<Level>,
    pub cost: Option<Cost>,
    pub energy_saver: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    None,
    Local,
    Constrained,
    Internet,
}

/// The five rows of the cost table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    Unmetered,
    Metered,
    ApproachingLimit,
    Roaming,
    OverLimit,
}

/// The history that a seed stands for.
#[must_use]
pub fn events(seed: u64) -> Vec<Event> {
    let mut random = StdRng::seed_from_u64(seed);
    let count = random.random_range(40..220);
    with_sets(seed, (0..count).map(|_| event(&mut random)).collect())
}

/// Puts completion groups into a history that is what it is without them.
fn with_sets(seed: u64, events: Vec<Event>) -> Vec<Event> {
    let mut random = StdRng::seed_from_u64(seed ^ 0x5e75_5e75);
    let mut all = Vec::with_capacity(events.len() * 2);
    for mut event in events {
        if let Event::Create(create) = &mut event {
            create.set = random.random_bool(0.5).then(|| random.random_range(0..1_000));
        }
        match random.random_range(0..20) {
            0..2 => all.push(Event::NewSet { app: random.random_range(0..3) }),
            2 => all.push(Event::Enable { which: random.random_range(0..1_000) }),
            _ => {}
        }
        all.push(event);
    }
    all
}

fn event(random: &mut StdRng) -> Event {
    let which = random.random_range(0..1_000);
    match random.random_range(0..100) {
        0..12 => Event::Create(create(random)),
        12..26 => Event::Command { which, command: command(random) },
        26..28 => Event::Group {
            app: random.random_range(0..3),
            name: random.random_range(0..2),
            is_serialized: random.random(),
        },
        28..30 => Event::Limits(limits(random)),
        30..56 => Event::Work { which, work: work(random), notices_stop: random.random_bool(0.75) },
        56..58 => Event::LateReport { which },
        58..62 => Event::Discard { which },
        62..66 => Event::Host(machine(random)),
        66..68 => Event::Disk { is_full: random.random() },
        68..78 => Event::Wait { milliseconds: pause(random) },
        78..79 => Event::ClockJump { seconds: random.random_range(-200_000..200_000) },
        79..94 => Event::Commit,
        94..96 => Event::CommitLazily,
        96..97 => Event::CommitFails,
        _ => Event::Crash { lands: random.random(), off_seconds: random.random_range(-10..100_000) },
    }
}

fn create(random: &mut StdRng) -> Create {
    Create {
        app: random.random_range(0..3),
        host: random.random_range(0..4),
        group: random.random_bool(0.5).then(|| random.random_range(0..2)),
        priority: random.random_range(0..3),
        cost_policy: random.random_range(0..3),
        start: random.random_bool(0.85),
        delay_seconds: random.random_bool(0.15).then(|| random.random_range(-10..100_000)),
        rate: random.random_bool(0.1).then(|| random.random_range(0..2) * 1_000),
        is_recoverable: random.random_bool(0.3),
        size: random.random_range(1..100_000),
        count: random.random_range(1..4),
        set: None,
    }
}

fn command(random: &mut StdRng) -> Command {
    match random.random_range(0..20) {
        0..2 => Command::Start,
        2..5 => Command::Pause,
        5..8 => Command::Resume,
        8..10 => Command::Cancel,
        10 => Command::Remove,
        11 => Command::Consume,
        12..15 => Command::MakeCurrent,
        15 => Command::Priority(random.random_range(0..3)),
        16 => Command::CostPolicy(random.random_range(0..3)),
        17..19 => Command::Rate([None, Some(0), Some(500)][random.random_range(0..3)]),
        _ => Command::Renew { host: random.random_range(0..4) },
    }
}

fn limits(random: &mut StdRng) -> NewLimits {
    NewLimits {
        running_at_once: random.random_range(1..8),
        per_application: random.random_range(1..5),
        per_host: random.random_range(1..4),
        rate: random.random_bool(0.3).then(|| random.random_range(0..2) * 10_000),
        closed_hours: random
            .random_bool(0.4)
            .then(|| (random.random_range(0..24), random.random_range(0..24))),
    }
}

fn work(random: &mut StdRng) -> Work {
    match random.random_range(0..24) {
        0..5 => Work::Receive { bytes: random.random_range(1..50_000) },
        5..8 => Work::Checkpoint,
        8..10 => Work::Publish,
        10..13 => Work::Report,
        13..15 => Work::Reset,
        15 => {
            Work::ServerError { retry_after: random.random_bool(0.3).then(|| random.random_range(1..5_000)) }
        }
        16 => Work::Forbidden,
        17 => Work::NotFound,
        18 => Work::Changed,
        19 => Work::Permanent,
        20 => Work::NoNetwork,
        _ => Work::LetGo,
    }
}

fn machine(random: &mut StdRng) -> Machine {
    const LEVELS: [Option<Level>; 6] = [
        None,
        Some(Level::None),
        Some(Level::Local),
        Some(Level::Constrained),
        Some(Level::Internet),
        Some(Level::Internet),
    ];
    const COSTS: [Option<Cost>; 7] = [
        None,
        Some(Cost::Unmetered),
        Some(Cost::Unmetered),
        Some(Cost::Metered),
        Some(Cost::ApproachingLimit),
        Some(Cost::Roaming),
        Some(Cost::OverLimit),
    ];
    Machine {
        level: LEVELS[random.random_range(0..LEVELS.len())],
        cost: COSTS[random.random_range(0..COSTS.len())],
        energy_saver: [None, Some(false), Some(false), Some(true)][random.random_range(0..4)],
    }
}

/// From a blink to a month.
fn pause(random: &mut StdRng) -> u64 {
    match random.random_range(0..20) {
        0..6 => random.random_range(1..2_000),
        6..14 => random.random_range(1_000..90_000),
        14..19 => random.random_range(60_000..20_000_000),
        _ => random.random_range(20_000_000..4_000_000_000),
    }
}
