//! The Rust client of Longhaul: typed calls, and a watch that survives reconnects.
//!
//! A [`Client`] talks to the service of the calling user over its Unix socket, or over TCP with a token. It keeps a
//! few connections and may be cloned and shared freely. It needs a Tokio runtime with I/O and time.
//!
//! ```no_run
//! use longhaul_client::{Client, Endpoint};
//! use longhaul_client::contract::CreateDownload;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(Endpoint::of_this_user()?).await?;
//! let created = client
//!     .create_download(&CreateDownload::new("https://example.org/film.mkv", "/home/ann/film.mkv"))
//!     .await?;
//! // The record is on disk now: the service finishes the download whatever becomes of this program.
//! let finished = client.download(created.id).attach().await?;
//! println!("{} is {}", created.id, finished.status);
//! # Ok(())
//! # }
//! ```
//!
//! Background tasks are registered with [`Client::register_task`] and are code that runs when a trigger fires and
//! conditions hold: a program of its own, which may speak up through an [`InstanceConnection`], or a part of this
//! program, which is a [`BackgroundTask`] behind a [`TaskHost`].
//!
//! Starting the service when it is not there is left to the command line and to systemd's socket activation: a
//! library does not spawn processes behind its caller's back.

mod apps;
mod calls;
mod completion;
mod connections;
mod content;
mod downloads;
mod endpoint;
mod error;
mod event_stream;
mod groups;
mod instance;
mod operations;
mod server_sent_events;
mod service;
mod supposition;
mod task_host;
mod tasks;
mod uploads;
mod watch;

/// The types that calls take and answer with.
pub use longhaul_contract as contract;

pub use calls::Client;
pub use content::ContentReader;
pub use downloads::Download;
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use error::ClientError;
pub use instance::{
    APP_VARIABLE, INSTANCE_VARIABLE, InstanceConnection, InstanceDeferral, NoInstance, TASK_VARIABLE,
};
pub use operations::{DownloadPages, DownloadQuery, Transfer};
pub use supposition::Supposition;
pub use task_host::{BackgroundTask, TaskDeferral, TaskError, TaskHost, TaskInstance};
pub use tasks::{RunningInstance, Task};
pub use uploads::Upload;
pub use watch::{Watch, Watched};
