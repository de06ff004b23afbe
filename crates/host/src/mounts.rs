//! Tells that a file system was mounted, unmounted or remounted in this mount namespace (proc_pid_mountinfo(5)).

use std::fs::File;
use std::io;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches the table of mounts. Dropping it ends the watch. Must live inside a tokio runtime.
#[derive(Debug)]
pub struct MountWatch {
    table: AsyncFd<File>,
}

impl MountWatch {
    /// # Errors
    /// There is no `/proc`.
    pub fn open() -> io::Result<Self> {
        let table = File::open("/proc/self/mountinfo")?;
        // SAFETY: a `File` that is never taken out names the same open file for its whole life.
        let table = unsafe { AsyncFd::register_with_interest(table, Interest::PRIORITY) }?;
        Ok(Self { table })
    }

    /// Waits until the table has changed. May be dropped and called again at any point.
    pub async fn changed(&mut self) {
        match self.table.ready(Interest::PRIORITY).await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => std::future::pending().await,
        }
    }
}
