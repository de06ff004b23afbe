//! What happens to tasks, made from a seed.

use longhaul_contract::CancelReason;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::machine::TaskMachine;

#[derive(Debug, Clone)]
pub enum TaskEvent {
    Register(Registering),
    Unregister {
        which: usize,
        cancel: bool,
    },
    /// Something outside fires it.
    Fire {
        which: usize,
    },
    Request {
        which: usize,
    },
    Run {
        which: usize,
    },
    CancelInstance {
        which: usize,
    },
    /// The owner decides: 0 nothing, 4 always, 5 allowed, 7 denied.
    Access {
        app: u8,
        status: u8,
    },
    AskAccess {
        app: u8,
    },
    RemoveAccess {
        app: u8,
    },
    Uninstall {
        app: u8,
    },
    Machine(TaskMachine),
    /// A program of the application listens, or not any more.
    Serve {
        app: u8,
        is_connected: bool,
    },
    Revoke {
        app: Option<u8>,
        reason: CancelReason,
    },
    /// Something happens to one of the instances that live.
    Job {
        which: usize,
        act: Act,
    },
    /// An instance that is long over is reported again.
    LateReport {
        which: usize,
    },
    Wait {
        milliseconds: u64,
    },
    ClockJump {
        seconds: i64,
    },
    Commit,
    CommitFails,
    Crash {
        lands: bool,
        off_seconds: i64,
        /// The machine went down, and all its processes with it; otherwise only the service.
        is_power_cut: bool,
        /// The clock has lost its time, until somebody sets it.
        has_dead_clock: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Up,
    Complete,
    Fail,
    CrashHost,
    /// It does not hear that it is to end, and whoever should kill it does not either.
    Harden,
}

#[derive(Debug, Clone)]
pub struct Registering {
    pub app: u8,
    pub name: u8,
    pub group: Option<u8>,
    pub trigger: Trigger,
    pub one_shot: bool,
    pub skips_missed: bool,
    pub fires_at_once: bool,
    /// Numbers of conditions.
    pub conditions: Vec<u8>,
    pub cancel_on_condition_loss: bool,
    pub is_served_by_program: bool,
    /// Further runs, seconds before the first, after interruption.
    pub retry: Option<(u8, u32, bool)>,
    /// 0 fail, 1 replace, 2 allow.
    pub on_conflict: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    Push,
    CompletionGroup,
    Application,
    UserPresent,
    InternetAvailable,
    Every {
        minutes: u32,
    },
    Maintenance {
        minutes: u32,
    },
    /// Minute of the day, UTC.
    Daily {
        minute: u32,
    },
}

/// The history that a seed stands for.
#[must_use]
pub fn task_events(seed: u64) -> Vec<TaskEvent> {
    let mut random = StdRng::seed_from_u64(seed ^ 0x7a5c_0000);
    let count = random.random_range(60..260);
    (0..count).map(|_| event(&mut random)).collect()
}

fn event(random: &mut StdRng) -> TaskEvent {
    let which = random.random_range(0..1_000);
    let app = random.random_range(0..3);
    match random.random_range(0..200) {
        0..24 => TaskEvent::Register(registering(random)),
        24..29 => TaskEvent::Unregister { which, cancel: random.random() },
        29..49 => TaskEvent::Fire { which },
        49..53 => TaskEvent::Request { which },
        53..58 => TaskEvent::Run { which },
        58..61 => TaskEvent::CancelInstance { which },
        61..67 => TaskEvent::Access { app, status: [0, 4, 5, 5, 5, 7][random.random_range(0..6)] },
        67..70 => TaskEvent::AskAccess { app },
        70..71 => TaskEvent::RemoveAccess { app },
        71..72 => TaskEvent::Uninstall { app },
        72..94 => TaskEvent::Machine(TaskMachine::random(random)),
        94..98 => TaskEvent::Serve { app, is_connected: random.random_bool(0.7) },
        98..101 => TaskEvent::Revoke { app: random.random::<bool>().then_some(app), reason: reason(random) },
        101..143 => TaskEvent::Job { which, act: act(random) },
        143..145 => TaskEvent::LateReport { which },
        145..170 => TaskEvent::Wait { milliseconds: pause(random) },
        170..176 => TaskEvent::ClockJump { seconds: jump(random) },
        176..190 => TaskEvent::Commit,
        190..192 => TaskEvent::CommitFails,
        _ => TaskEvent::Crash {
            lands: random.random(),
            off_seconds: random.random_range(1..100_000),
            is_power_cut: random.random(),
            has_dead_clock: random.random_bool(0.1),
        },
    }
}

fn registering(random: &mut StdRng) -> Registering {
    let minutes = [15, 15, 60, 1_440][random.random_range(0..4)];
    let trigger = match random.random_range(0..16) {
        0..5 => Trigger::Push,
        5 => Trigger::CompletionGroup,
        6 => Trigger::Application,
        7..9 => Trigger::UserPresent,
        9..11 => Trigger::InternetAvailable,
        11..13 => Trigger::Every { minutes },
        13 => Trigger::Maintenance { minutes },
        _ => Trigger::Daily { minute: random.random_range(0..1_440) },
    };
    let is_timed =
        matches!(trigger, Trigger::Every { .. } | Trigger::Maintenance { .. } | Trigger::Daily { .. });
    let is_event = matches!(trigger, Trigger::UserPresent | Trigger::InternetAvailable);
    let count = random.random_range(0..3);
    Registering {
        app: random.random_range(0..3),
        name: random.random_range(0..5),
        group: random.random_bool(0.2).then_some(0),
        trigger,
        one_shot: (is_timed || is_event) && random.random_bool(0.3),
        skips_missed: random.random_bool(0.3),
        fires_at_once: is_timed && random.random_bool(0.2),
        conditions: conditions(random, count),
        cancel_on_condition_loss: random.random(),
        is_served_by_program: random.random_bool(0.15),
        retry: random
            .random_bool(0.4)
            .then(|| (random.random_range(1..4), [1, 30, 1_000][random.random_range(0..3)], random.random())),
        on_conflict: random.random_range(0..3),
    }
}

/// Conditions that can hold together.
fn conditions(random: &mut StdRng, count: usize) -> Vec<u8> {
    let mut conditions: Vec<u8> = Vec::new();
    for _ in 0..count {
        let condition = random.random_range(1..=10);
        let opposite = match condition {
            1 | 3 | 5 | 9 => vec![condition + 1],
            2 | 6 | 10 => vec![condition - 1],
            4 => vec![3, 7],
            7 => vec![4],
            _ => vec![],
        };
        if !opposite.iter().any(|other| conditions.contains(other)) {
            conditions.push(condition);
        }
    }
    conditions.sort_unstable();
    conditions.dedup();
    conditions
}

fn reason(random: &mut StdRng) -> CancelReason {
    [
        CancelReason::Terminating,
        CancelReason::LoggingOff,
        CancelReason::ServicingUpdate,
        CancelReason::ResourceRevocation,
        CancelReason::IdleTask,
    ][random.random_range(0..5)]
}

fn act(random: &mut StdRng) -> Act {
    match random.random_range(0..20) {
        0..5 => Act::Up,
        5..12 => Act::Complete,
        12..15 => Act::Fail,
        15..18 => Act::CrashHost,
        _ => Act::Harden,
    }
}

fn pause(random: &mut StdRng) -> u64 {
    match random.random_range(0..20) {
        0..5 => random.random_range(1..2_000),
        5..11 => random.random_range(1_000..40_000),
        11..18 => random.random_range(60_000..8_000_000),
        _ => random.random_range(8_000_000..300_000_000),
    }
}

fn jump(random: &mut StdRng) -> i64 {
    const TEN_YEARS: i64 = 315_360_000;
    [3_600, -3_600, TEN_YEARS, -TEN_YEARS, 86_400, -7][random.random_range(0..6)]
}
