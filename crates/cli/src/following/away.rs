//! What to do while the service is away.
//!
//! A service that was stopped took its socket along; one that crashed left it behind. The first is respected, the
//! second is mended: by its supervisor, or, when none does it in time, by starting it as any command would.

use std::io;
use std::time::Duration;

use longhaul_client::ClientError;
use tokio::time::Instant;

use crate::connect::Context;
use crate::exit::Exit;
use crate::service::start;
use crate::trouble::Trouble;

/// A supervisor has this long to bring a crashed service back.
const SUPERVISOR_DEADLINE: Duration = Duration::from_secs(3);
/// A restart of the service is not talked about when it is faster.
const REMARK_DELAY: Duration = Duration::from_secs(1);
/// Somebody who stopped the service may be about to start another version.
const STOPPED_DEADLINE: Duration = Duration::from_secs(20);
/// A service that neither answers nor refuses, or is on another machine.
const SILENT_DEADLINE: Duration = Duration::from_secs(120);

pub(crate) struct Away {
    since: Instant,
    is_told: bool,
}

impl Away {
    pub(crate) fn begin() -> Self {
        Self { since: Instant::now(), is_told: false }
    }

    pub(crate) fn is_told(&self) -> bool {
        self.is_told
    }

    /// Called at each attempt that failed. Answers what is worth saying.
    pub(crate) async fn look_after(
        &mut self,
        context: &Context,
        error: ClientError,
    ) -> Result<Option<String>, Trouble> {
        let gone_for = self.since.elapsed();
        let ClientError::Unreachable { source, .. } = &error else { return Ok(None) };
        let may_mend = context.is_local() && !context.globals.no_start;
        match source.kind() {
            io::ErrorKind::ConnectionRefused if may_mend && gone_for > SUPERVISOR_DEADLINE => {
                start::ensure_running(context, &context.paths()?).await?;
                self.is_told = true;
                return Ok(Some("The service had crashed and was started again.".to_owned()));
            }
            io::ErrorKind::NotFound if gone_for > STOPPED_DEADLINE => {
                return Err(Trouble::new(Exit::Unreachable, "the service was stopped").advise(
                    "Start it again with `longhaul service start`: everything goes on where it was. \
                     `longhaul follow` shows it.",
                ));
            }
            _ if gone_for > SILENT_DEADLINE => return Err(error.into()),
            _ => {}
        }
        let is_worth_telling =
            gone_for > REMARK_DELAY && !std::mem::replace(&mut self.is_told, gone_for > REMARK_DELAY);
        Ok(is_worth_telling.then(|| format!("The service is away ({error}); waiting for it.")))
    }
}
