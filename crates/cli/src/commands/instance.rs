//! `longhaul instance`, for shell scripts that run as background tasks.

use std::time::Duration;

use longhaul_client::InstanceConnection;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::connect::Context;
use crate::exit::Exit;
use crate::trouble::Trouble;

/// Speak for the running task, from inside of it
///
/// The task is found by the variables LONGHAUL_TASK_ID, LONGHAUL_INSTANCE_ID, LONGHAUL_APP and LONGHAUL_SOCKET that its
/// process is started with. Its trigger details come on standard input. When it is to end it gets SIGTERM, and the reason
/// is in the file that LONGHAUL_CANCEL_REASON_FILE names; five seconds later it is killed.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Set the progress: any number, mostly per cent
    Progress {
        /// The number
        #[arg(value_name = "NUMBER")]
        progress: u32,
    },
    /// Take a deferral and print its id: the instance lives until all are completed, within its time limit
    ///
    /// That holds beyond the end of its program when that ends with 0: processes that it has left in the background go on,
    /// and whoever knows the id may complete it.
    Defer,
    /// End a deferral
    CompleteDeferral {
        /// What `defer` printed
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Wait until the task is asked to end, and print the reason
    WaitCancel {
        /// Give up after this long, and end with 1
        #[arg(long, value_name = "TIME", value_parser = crate::commands::task::parse_seconds)]
        timeout: Option<u32>,
    },
    /// Print how often the instance was suspended by resource policy
    SuspendedCount,
    /// Say that the task has returned, and with --failure that it has failed; the end of its process says the same
    Complete {
        /// It has failed, and this is why
        #[arg(long, value_name = "TEXT")]
        failure: Option<String>,
    },
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let instance = InstanceConnection::from_environment()
        .map_err(|error| Trouble::usage(error.to_string()).advise("Call it from inside a task."))?;
    let console = &context.console;
    match arguments.command {
        Command::Progress { progress } => instance.set_progress(progress).await?,
        Command::Defer => {
            let deferral = instance.defer().await?;
            console.data(&json!({ "deferralId": deferral.id() }), |_| format!("{}\n", deferral.id()))?;
        }
        Command::CompleteDeferral { id } => instance.deferral(id).complete().await?,
        Command::WaitCancel { timeout } => {
            // It goes to the whole process group of a task that is to end, which is what this waits for.
            let _terminate = signal(SignalKind::terminate())
                .map_err(|error| Trouble::new(Exit::Internal, format!("SIGTERM: {error}")))?;
            let cancelled = instance.cancelled();
            let reason = match timeout {
                Some(seconds) => {
                    match tokio::time::timeout(Duration::from_secs(seconds.into()), cancelled).await {
                        Ok(reason) => reason?,
                        Err(_) => return Ok(Exit::Internal),
                    }
                }
                None => cancelled.await?,
            };
            console.data(&json!({ "reason": reason }), |_| format!("{reason}\n"))?;
        }
        Command::SuspendedCount => {
            let count = instance.suspended_count().await?;
            console.data(&json!({ "suspendedCount": count }), |_| format!("{count}\n"))?;
        }
        Command::Complete { failure } => instance.complete(failure.as_deref()).await?,
    }
    Ok(Exit::Success)
}
