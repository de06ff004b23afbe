//! UPower's display device, which stands for all batteries together (org.freedesktop.UPower).

use std::convert::Infallible;

use longhaul_contract::{BatteryStatus, Power};

use crate::bus::{BusSource, Owner, Properties, Rule};
use crate::facts::{Fact, Reports};

const PATH: &str = "/org/freedesktop/UPower";
const MANAGER: &str = "org.freedesktop.UPower";
const DISPLAY: &str = "/org/freedesktop/UPower/devices/DisplayDevice";
const DEVICE: &str = "org.freedesktop.UPower.Device";

#[derive(Debug)]
pub(crate) struct Upower;

impl Upower {
    async fn run(owner: &Owner, reports: &Reports) -> zbus::Result<Infallible> {
        let rules = [Rule::properties(PATH, MANAGER), Rule::properties(DISPLAY, DEVICE)];
        let mut signals = owner.listen(&rules).await?;
        loop {
            signals.take_all();
            let manager = owner.properties(PATH, MANAGER).await?;
            let display = owner.properties(DISPLAY, DEVICE).await?;
            reports.fact(Fact::Upower(Ok(read(&manager, &display)?)));
            signals.next().await?;
        }
    }
}

fn read(manager: &Properties, display: &Properties) -> zbus::Result<Power> {
    let is_external = !manager.need::<bool>("OnBattery")?;
    if !display.get("IsPresent").unwrap_or(false) {
        return Ok(Power { is_external, battery: BatteryStatus::NotPresent, percent: None });
    }
    // UpDeviceState; what is full, unknown or pending rests.
    let battery = match display.get::<u32>("State") {
        Some(1) => BatteryStatus::Charging,
        Some(2 | 3) => BatteryStatus::Discharging,
        _ => BatteryStatus::Idle,
    };
    Ok(Power { is_external, battery, percent: display.get("Percentage").map(per_cent) })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=100 before")]
fn per_cent(value: f64) -> u8 {
    value.clamp(0.0, 100.0).round() as u8
}

impl BusSource for Upower {
    const NAME: &'static str = "org.freedesktop.UPower";
    const DAEMON: &'static str = "upower";

    fn absent(&self, reason: String) -> Fact {
        Fact::Upower(Err(reason))
    }

    async fn attend(&mut self, owner: &Owner, reports: &Reports) -> zbus::Error {
        let Err(error) = Self::run(owner, reports).await;
        error
    }
}
