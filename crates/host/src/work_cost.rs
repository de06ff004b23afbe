//! What work in the background costs now, worked out from power, presence and the kernel's word of pressure
//! (BackgroundWorkCost.CurrentBackgroundWorkCost): Linux has no such signal of its own.

use longhaul_contract::{Power, WorkCost};

/// The name of this source in `GET /host`.
pub(crate) const SOURCE: &str = "power and presence";
/// The same where the machine has more to do than it can.
pub(crate) const SOURCE_PRESSURE: &str = "pressure (PSI)";

/// On mains it is low. On a battery it is medium while the user works, and high when everything else rests or energy is
/// to be saved. While work has to wait for processors, memory or disks, it is high whatever the power.
pub(crate) fn of(
    power: Option<&Power>,
    is_energy_saver_on: Option<&bool>,
    is_user_present: Option<&bool>,
    is_pressed: bool,
) -> Result<(WorkCost, &'static str), &'static str> {
    if is_pressed {
        return Ok((WorkCost::High, SOURCE_PRESSURE));
    }
    let cost = match (power, is_energy_saver_on, is_user_present) {
        (_, Some(true), _) => WorkCost::High,
        (Some(power), _, _) if power.is_external => WorkCost::Low,
        (Some(_), _, Some(true)) => WorkCost::Medium,
        (Some(_), _, _) => WorkCost::High,
        (None, _, _) => return Err("it follows from where the power comes from, and that is unknown"),
    };
    Ok((cost, SOURCE))
}

#[cfg(test)]
mod tests {
    use longhaul_contract::BatteryStatus;

    use super::*;

    #[test]
    fn every_row() {
        let mains = Power { is_external: true, battery: BatteryStatus::NotPresent, percent: None };
        let battery = Power { is_external: false, battery: BatteryStatus::Discharging, percent: Some(50) };
        let (yes, no) = (Some(&true), Some(&false));
        for (power, saver, present, expected) in [
            (Some(&mains), None, None, Some(WorkCost::Low)),
            (Some(&mains), no, no, Some(WorkCost::Low)),
            (Some(&mains), yes, yes, Some(WorkCost::High)),
            (Some(&battery), no, yes, Some(WorkCost::Medium)),
            (Some(&battery), None, no, Some(WorkCost::High)),
            (Some(&battery), None, None, Some(WorkCost::High)),
            (None, yes, None, Some(WorkCost::High)),
            (None, no, yes, None),
        ] {
            assert_eq!(of(power, saver, present, false).ok().map(|(cost, _)| cost), expected);
            assert_eq!(of(power, saver, present, true), Ok((WorkCost::High, SOURCE_PRESSURE)));
        }
    }
}
