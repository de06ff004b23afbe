//! A program that registers an hourly task and runs it itself.
//!
//! The owner installs a manifest that declares the class, with `longhaul app install FILE`:
//!
//! ```toml
//! [app]
//! id = "org.example.Counter"
//!
//! [[entry-point]]
//! class = "Example.Counter.CountTask"
//! in-process = true
//! ```
//!
//! Then `cargo run --example background_task` serves it, and `longhaul --app org.example.Counter task run count`, typed
//! elsewhere, runs it at once.

use std::time::Duration;

use longhaul_client::contract::{OnConflict, RegisterTaskRequest, TriggerKind, TriggerSpec};
use longhaul_client::{BackgroundTask, Client, Endpoint, TaskError, TaskHost, TaskInstance};

struct Count;

impl BackgroundTask for Count {
    async fn run(&self, instance: TaskInstance) -> Result<(), TaskError> {
        println!("{} begins, with {}", instance.id(), instance.trigger_details());
        for step in 1..=10 {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => instance.set_progress(step * 10).await?,
                reason = instance.cancelled() => {
                    println!("{} is asked to end: {reason}", instance.id());
                    return Err(TaskError::new(format!("stopped before step {step}")));
                }
            }
        }
        println!("{} is done", instance.id());
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = "org.example.Counter".parse()?;
    let client = Client::connect(Endpoint::of_this_user()?).await?.for_app(app);
    println!("access: {}", client.request_access(None).await?);
    let hourly = TriggerSpec { freshness_time: Some(60), ..TriggerSpec::new(TriggerKind::TimeTrigger) };
    let request = RegisterTaskRequest::new("count".parse()?, "Example.Counter.CountTask", hourly);
    let task = client.register_task(&request, OnConflict::Replace).await?;
    println!("{} is registered as {}", task.name, task.id);
    let host = TaskHost::new(client.clone()).serve("Example.Counter.CountTask", Count);
    Err(host.run().await.into())
}
