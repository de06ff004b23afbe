//! What the tests of the runner run: programs that misbehave, and a service that can be killed.
//!
//! The first argument says which; it is also a launcher, as every binary that starts tasks.

mod bus;

use std::fs;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use longhaul_runner::{
    Account, Launch, Leftovers, Limits, OutputSize, Runner, Sandbox, Settings, Unenforceable,
};

fn main() -> ExitCode {
    longhaul_runner::launcher::main_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |index: usize| arguments.get(index).map(String::as_str).unwrap_or_default();
    let number = || argument(1).parse::<u64>().unwrap_or_default();
    match argument(0) {
        "exit" => return ExitCode::from(u8::try_from(number()).unwrap_or(255)),
        "echo" => echo(),
        "late-echo" => late_echo(),
        "descriptors" => descriptors(),
        "signals" => signals(),
        "hang" => pause(),
        "ignore-first" => ignore_first(),
        "eat" => eat(number()),
        "flood" => flood(number()),
        "drizzle" => drizzle(number()),
        "monster" => monster(argument(1)),
        "comet" => comet(),
        "kill-parent" => kill_parent(argument(1)),
        "connect" => return connect(),
        "bus" => {
            if let Err(error) = bus::serve(argument(1)) {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        }
        "service" => return service(argument(1), argument(2)),
        other => {
            eprintln!("there is no {other:?}");
            return ExitCode::from(64);
        }
    }
    ExitCode::SUCCESS
}

fn pause() -> ! {
    loop {
        // SAFETY: waits for a signal, nothing else.
        unsafe { libc::pause() };
    }
}

fn ignore(signal: i32) {
    // SAFETY: sets a signal to be ignored.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

fn say(word: &str) {
    println!("{word}");
    let _ = io::stdout().flush();
}

fn echo() {
    let mut input = Vec::new();
    let _ = io::stdin().read_to_end(&mut input);
    let _ = io::stdout().write_all(&input);
}

/// Reads only once it is told that it may, by the end of another file.
fn late_echo() {
    say("waiting");
    std::thread::sleep(Duration::from_millis(300));
    echo();
}

/// Which descriptors are open, apart from the one that looks.
fn descriptors() {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    let open = paths.iter().filter(|path| path.symlink_metadata().is_ok());
    let mut open: Vec<u32> = open.filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect();
    open.sort_unstable();
    say(&format!("{open:?}"));
}

/// Blocked and ignored signals, session and group, and whether privileges can be gained.
fn signals() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|line| {
        ["SigBlk", "SigIgn", "NoNewPrivs", "Uid", "Gid", "Groups"].iter().any(|name| line.starts_with(name))
    }) {
        say(&line.replace('\t', " "));
    }
    // SAFETY: asks for numbers only.
    let (pid, group, session) = unsafe { (libc::getpid(), libc::getpgrp(), libc::getsid(0)) };
    say(&format!("leader {}", pid == group && pid == session));
}

fn ignore_first() {
    extern "C" fn second(_: i32) {
        // SAFETY: ends the process, which is allowed in a handler.
        unsafe { libc::_exit(3) };
    }
    extern "C" fn first(_: i32) {
        // SAFETY: both calls are allowed in a handler.
        unsafe {
            libc::signal(libc::SIGTERM, second as extern "C" fn(i32) as libc::sighandler_t);
            libc::write(1, b"first\n".as_ptr().cast(), 6);
        }
    }
    // SAFETY: the handler does only what handlers may.
    unsafe { libc::signal(libc::SIGTERM, first as extern "C" fn(i32) as libc::sighandler_t) };
    say("ready");
    pause();
}

/// Touches so much memory, page by page.
fn eat(bytes: u64) {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for _ in 0..bytes >> 20 {
        let mut block = Vec::new();
        if block.try_reserve_exact(1 << 20).is_err() {
            say("no more memory");
            std::process::exit(12);
        }
        block.resize(1 << 20, 1);
        all.push(block);
    }
    say(&format!("ate {} MiB", all.len()));
}

fn flood(bytes: u64) {
    let block = [b'x'; 64 << 10];
    let mut left = bytes;
    let mut stdout = io::stdout().lock();
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        if stdout.write_all(&block[..count]).is_err() {
            return;
        }
        left -= count as u64;
    }
    let _ = stdout.write_all(b"end\n");
}

/// One line after the other, with a moment between, for those who read along.
fn drizzle(lines: u64) {
    for line in 0..lines {
        say(&format!("line {line}"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// All bad manners at once: ignores requests to end, has descendants in other sessions that closed everything they had,
/// floods its output, and never ends. Each process leaves its number in the folder `marks`.
fn monster(marks: &str) {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGPIPE, libc::SIGQUIT] {
        ignore(signal);
    }
    for depth in 0..6 {
        // SAFETY: this program has one thread.
        if unsafe { libc::fork() } == 0 {
            // SAFETY: as above; numbers only.
            unsafe { libc::setsid() };
            // SAFETY: as above.
            if unsafe { libc::fork() } != 0 {
                std::process::exit(0);
            }
            mark(marks);
            if depth % 2 == 0 {
                // SAFETY: nothing is used of what is closed.
                unsafe { libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0) };
                pause();
            }
            break;
        }
    }
    mark(marks);
    loop {
        flood(1 << 20);
    }
}

fn mark(folder: &str) {
    if !folder.is_empty() {
        let _ = fs::write(format!("{folder}/{}", std::process::id()), "");
    }
}

/// Forks and ends, forks and ends, each time in another session: hard to catch.
fn comet() {
    ignore(libc::SIGTERM);
    // SAFETY: this program has one thread.
    if unsafe { libc::fork() } != 0 {
        pause();
    }
    loop {
        // SAFETY: as above; numbers only.
        unsafe {
            libc::setsid();
            if libc::fork() > 0 {
                libc::_exit(0);
            }
        }
    }
}

/// Kills who looks after it, and lives on with a descendant.
fn kill_parent(marks: &str) {
    // SAFETY: this program has one thread.
    if unsafe { libc::fork() } == 0 {
        // SAFETY: numbers only.
        unsafe { libc::setsid() };
        mark(marks);
        pause();
    }
    while fs::read_dir(marks).into_iter().flatten().count() == 0 {
        std::thread::yield_now();
    }
    // SAFETY: numbers only.
    unsafe { libc::kill(libc::getppid(), libc::SIGKILL) };
    pause();
}

/// Tries to speak to the address in its first argument, and to itself; the exit code has a bit for each that worked.
fn connect() -> ExitCode {
    let target = std::env::args().nth(2).unwrap_or_default();
    let reached = std::net::TcpStream::connect(target);
    say(&format!("outside: {:?}", reached.as_ref().map(|_| ()).map_err(io::Error::kind)));
    let local = std::os::unix::net::UnixStream::pair().is_ok();
    say(&format!("local: {local}"));
    ExitCode::from(u8::from(reached.is_ok()) | u8::from(local) << 1)
}

/// Plays the service: starts monsters that leave their marks, says so, and waits to be killed.
fn service(run_folder: &str, marks: &str) -> ExitCode {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return ExitCode::FAILURE;
    };
    let outcome: Result<(), String> = runtime.block_on(async {
        let in_words = |error: &dyn std::fmt::Display| error.to_string();
        let settings = Settings { run_folder: run_folder.into(), launcher: None, cgroups: None };
        let runner = Runner::new(settings).map_err(|error| in_words(&error))?;
        let account = Account::current().map_err(|error| in_words(&error))?;
        let program = std::env::current_exe().map_err(|error| in_words(&error))?;
        let program = program.to_string_lossy().into_owned();
        let mut all = Vec::new();
        for index in 0..3 {
            let launch = Launch {
                name: format!("monster-{index}"),
                command: vec![program.clone(), "monster".into(), marks.into()],
                environment: Vec::new(),
                working_directory: Some("/".into()),
                input: Vec::new(),
                account: account.clone(),
                limits: Limits::default(),
                sandbox: Sandbox::default(),
                unenforceable: Unenforceable::Report,
                leftovers: Leftovers::Kill,
                output: OutputSize::default(),
            };
            all.push(runner.start(launch).await.map_err(|error| in_words(&error))?);
        }
        say("running");
        std::future::pending::<()>().await;
        Ok(())
    });
    if let Err(error) = outcome {
        eprintln!("{error}");
    }
    ExitCode::FAILURE
}
