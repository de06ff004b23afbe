//! Whether work has to wait for processors, memory or disks (pressure stall information, Documentation/accounting/psi.rst
//! of the kernel). The kernel tells; nothing is looked at by itself.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use futures_util::future::select_all;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Below the root.
const FOLDER: &str = "proc/pressure";

/// File, and what of a window of 2 s (in microseconds) may be lost in it before the kernel tells. Only windows of whole 2 s
/// may be had without privilege.
const TRIGGERS: [(&str, &str); 3] =
    [("cpu", "some 1000000 2000000"), ("io", "some 1000000 2000000"), ("memory", "some 400000 2000000")];

/// Must live inside a tokio runtime.
#[derive(Debug)]
pub(crate) struct PressureWatch {
    files: Vec<AsyncFd<File>>,
}

impl PressureWatch {
    /// # Errors
    /// The kernel was built or started without it, or a container hides it.
    pub(crate) fn open(root: &Path) -> io::Result<Self> {
        let files = TRIGGERS.iter().map(|(name, trigger)| arm(&root.join(FOLDER).join(name), trigger));
        Ok(Self { files: files.collect::<io::Result<_>>()? })
    }

    /// Waits until too much of a window was lost; the kernel tells at most once in each. May be dropped and called again
    /// at any point.
    pub(crate) async fn stalled(&mut self) {
        let waits = self.files.iter().map(|file| {
            Box::pin(async move {
                match file.ready(Interest::PRIORITY).await {
                    Ok(mut ready) => ready.clear_ready(),
                    Err(_) => std::future::pending().await,
                }
            })
        });
        select_all(waits).await;
    }
}

fn arm(path: &Path, trigger: &str) -> io::Result<AsyncFd<File>> {
    let mut file = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    // The kernel takes the last byte for the end of the text.
    file.write_all(format!("{trigger}\0").as_bytes())?;
    // SAFETY: a `File` that is never taken out names the same open file for its whole life.
    unsafe { AsyncFd::register_with_interest(file, Interest::PRIORITY) }.map_err(Into::into)
}
