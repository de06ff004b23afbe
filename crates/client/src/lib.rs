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
//! println!("{} is {}", finished.result_file, finished.status);
//! # Ok(())
//! # }
//! ```
//!
//! Starting the service when it is not there is left to the command line and to systemd's socket activation: a
//! library does not spawn processes behind its caller's back.

mod apps;
mod calls;
mod connections;
mod content;
mod downloads;
mod endpoint;
mod error;
mod groups;
mod server_sent_events;
mod service;
mod watch;

/// The types that calls take and answer with.
pub use longhaul_contract as contract;

pub use calls::Client;
pub use content::ContentReader;
pub use downloads::{Download, DownloadPages, DownloadQuery};
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use error::ClientError;
pub use watch::{Watch, Watched};
