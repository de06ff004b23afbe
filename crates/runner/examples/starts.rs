//! How many programs are started a second: `starts [COUNT] [AT-ONCE] [PROGRAM…]`.

use std::time::{Duration, Instant};

use longhaul_runner::cgroup::Delegation;
use longhaul_runner::{
    Account, Launch, Leftovers, Limits, OutputSize, Runner, Sandbox, Settings, Unenforceable, environment,
};
use tokio::task::JoinSet;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    longhaul_runner::launcher::main_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, otherwise| arguments.get(index).map_or(Ok(otherwise), |text| text.parse());
    let (count, at_once) = (number(0, 2000_usize)?, number(1, 8_usize)?);
    let program = arguments.get(2..).filter(|command| !command.is_empty());
    let command = program.map_or_else(|| vec!["/bin/true".to_owned()], <[String]>::to_vec);
    let with_cgroups = std::env::var_os("STARTS_CGROUPS").is_some();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let folder = run_folder_parent().join(format!("starts-{}", std::process::id()));
        let cgroups = with_cgroups.then(Delegation::of_this_process).transpose()?;
        let settings = Settings { run_folder: folder.clone(), launcher: None, cgroups };
        let runner = std::sync::Arc::new(Runner::new(settings)?);
        let account = Account::current()?;
        let variables = environment::base(&account, true, std::env::vars());
        let launch = |index: usize| Launch {
            name: index.to_string(),
            command: command.clone(),
            environment: variables.clone(),
            working_directory: Some("/".into()),
            input: b"{}".to_vec(),
            account: account.clone(),
            limits: Limits::default(),
            sandbox: Sandbox::default(),
            unenforceable: Unenforceable::Report,
            leftovers: Leftovers::Kill,
            output: OutputSize::default(),
        };
        let begun = Instant::now();
        let mut running = JoinSet::new();
        let mut times = Vec::with_capacity(count);
        for index in 0..count {
            if running.len() >= at_once {
                times.extend(running.join_next().await.transpose()?.flatten());
            }
            let (runner, launch) = (std::sync::Arc::clone(&runner), launch(index));
            running.spawn(async move {
                let asked = Instant::now();
                let running = runner.start(launch).await.ok()?;
                let started = asked.elapsed();
                running.wait().await.is_success().then_some(started)
            });
        }
        while let Some(time) = running.join_next().await {
            times.extend(time?);
        }
        report(count, begun.elapsed(), times);
        std::fs::remove_dir_all(folder)?;
        Ok(())
    })
}

/// In memory, as the service's own run folder.
fn run_folder_parent() -> std::path::PathBuf {
    let memory = std::path::PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

fn report(count: usize, took: Duration, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times.get(times.len().saturating_sub(1) * part / 100).copied().unwrap_or_default();
    println!(
        "{} of {count} ran to their end in {took:.2?}: {:.0} a second; start to exec: median {:.2?}, 99th percentile {:.2?}",
        times.len(),
        times.len() as f64 / took.as_secs_f64(),
        at(50),
        at(99),
    );
}
