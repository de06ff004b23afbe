//! The power profile (power-profiles-daemon, or tuned-ppd in its place): `power-saver` is energy saver.
//!
//! The daemon has had two names; the new one counts where both are owned.

use std::convert::Infallible;

use crate::bus::{BusSource, Owner, Rule};
use crate::facts::{Fact, Found, Reports};

/// Asks under the name of versions before 0.20 where `IS_OLD`.
#[derive(Debug)]
pub(crate) struct Profiles<const IS_OLD: bool>;

impl<const IS_OLD: bool> Profiles<IS_OLD> {
    const PATH: &'static str =
        if IS_OLD { "/net/hadess/PowerProfiles" } else { "/org/freedesktop/UPower/PowerProfiles" };

    fn fact(found: Found<bool>) -> Fact {
        if IS_OLD { Fact::OldProfiles(found) } else { Fact::Profiles(found) }
    }

    async fn run(owner: &Owner, reports: &Reports) -> zbus::Result<Infallible> {
        let mut signals = owner.listen(&[Rule::properties(Self::PATH, Self::NAME)]).await?;
        loop {
            signals.take_all();
            let profile: String = owner.properties(Self::PATH, Self::NAME).await?.need("ActiveProfile")?;
            reports.fact(Self::fact(Ok(profile == "power-saver")));
            signals.next().await?;
        }
    }
}

impl<const IS_OLD: bool> BusSource for Profiles<IS_OLD> {
    const NAME: &'static str =
        if IS_OLD { "net.hadess.PowerProfiles" } else { "org.freedesktop.UPower.PowerProfiles" };
    const DAEMON: &'static str = "power-profiles-daemon";

    fn absent(&self, reason: String) -> Fact {
        Self::fact(Err(reason))
    }

    async fn attend(&mut self, owner: &Owner, reports: &Reports) -> zbus::Error {
        let Err(error) = Self::run(owner, reports).await;
        error
    }
}
