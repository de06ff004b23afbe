//! The owner's data plans with their counts: reads the kernel's counters, works out what follows for the cost of the
//! network, and knows what is worth keeping. Deliberately absent: when to look.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use longhaul_contract::{DataPlanUse, HostState, NetworkCost, Signal, Timestamp};
use longhaul_host::data_plan::{DataPlan, Ledger, Mark};
use longhaul_host::network::Traffic;
use longhaul_store::{Reader, StoreError, Write};

/// The setting of the store that holds the counts.
const SETTING: &str = "data-plans";

/// The source of a cost that only the plan tells.
const SOURCE: &str = "data plan";

/// A count is kept at least this often while it grows; what the machine's end takes away is no more than that.
const KEPT_EVERY: Duration = Duration::from_secs(10);

type Ledgers = BTreeMap<String, Ledger>;

/// What the plan of the connection in use says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdict {
    is_approaching: bool,
    is_over: bool,
    since: Timestamp,
}

/// One look at all counts.
pub(crate) struct Count {
    pub(crate) usages: Vec<DataPlanUse>,
    /// The cost of the network is another one.
    pub(crate) is_verdict_new: bool,
    /// When it is another one if nothing more is used.
    pub(crate) changes_at: Option<Timestamp>,
}

pub(crate) struct DataPlans {
    plans: BTreeMap<String, DataPlan>,
    ledgers: Ledgers,
    kept: Ledgers,
    kept_at: Option<Instant>,
    /// Which start of the machine this is.
    boot: String,
    verdict: Option<Verdict>,
}

impl DataPlans {
    /// With the counts that the store keeps; counts of plans that are no more are dropped.
    pub(crate) fn load(plans: BTreeMap<String, DataPlan>, reader: &dyn Reader) -> Self {
        let mut kept = read(reader).unwrap_or_else(|error| {
            tracing::error!(%error, "what was used of data plans cannot be read: it is counted anew");
            Ledgers::new()
        });
        kept.retain(|connection, _| plans.contains_key(connection));
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot = boot.trim().to_owned();
        Self { plans, ledgers: kept.clone(), kept, kept_at: None, boot, verdict: None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }

    /// Reads the counters. `connection` is NetworkManager's name of the way to the Internet, `zone` the one in which
    /// periods begin.
    pub(crate) fn count(&mut self, connection: Option<&str>, zone: &TimeZone, now: Timestamp) -> Count {
        let mut count = Count { usages: Vec::new(), is_verdict_new: false, changes_at: None };
        if self.plans.is_empty() {
            return count;
        }
        let traffic = match Traffic::look() {
            Ok(traffic) => traffic,
            Err(error) => {
                tracing::warn!(%error, "what is used of data plans cannot be counted");
                return count;
            }
        };
        for (name, plan) in &self.plans {
            let is_connection = connection == Some(name);
            let link = traffic.links.iter().find(|link| match is_connection {
                true => Some(link.index) == traffic.way_out,
                false => link.name == *name,
            });
            let seen = link.map(|link| Mark {
                boot: self.boot.clone(),
                link: link.name.clone(),
                index: link.index,
                bytes: link.bytes,
            });
            let is_in_use = seen.as_ref().is_some_and(|seen| Some(seen.index) == traffic.way_out);
            let ledger = self.ledgers.entry(name.clone()).or_insert_with(|| Ledger::begin(plan, now, zone));
            ledger.count(plan, seen, now, zone);
            let changes_at = ledger.changes_at(plan, now, zone);
            count.changes_at = count.changes_at.into_iter().chain([changes_at]).min();
            count.usages.push(DataPlanUse { is_in_use, ..ledger.usage(name, plan, now, zone) });
        }
        count.is_verdict_new = self.judge(&count.usages, now);
        count
    }

    /// Answers whether the verdict is another one.
    fn judge(&mut self, usages: &[DataPlanUse], now: Timestamp) -> bool {
        let mut verdict: Option<Verdict> = None;
        for usage in usages.iter().filter(|usage| usage.is_in_use) {
            let so_far = verdict.get_or_insert(Verdict { is_approaching: false, is_over: false, since: now });
            so_far.is_approaching |= usage.is_approaching_limit;
            so_far.is_over |= usage.is_over_limit;
        }
        let flags = |verdict: Verdict| (verdict.is_approaching, verdict.is_over);
        if self.verdict.map(flags) == verdict.map(flags) {
            return false;
        }
        tracing::info!(?verdict, "the data plan of the connection in use says something else");
        self.verdict = verdict;
        true
    }

    /// Puts what the plan says into the cost of the network. A connection with a limit is metered, whatever others guess.
    pub(crate) fn apply(&self, host: &mut HostState) {
        let Some(verdict) = self.verdict else { return };
        let (cost, since, source) = match &host.network.cost {
            Signal::Known { value, since, source } => {
                (*value, verdict.since.max(*since), format!("{source}, {SOURCE}"))
            }
            Signal::Unknown { .. } => (NetworkCost::default(), verdict.since, SOURCE.to_owned()),
        };
        let value = NetworkCost {
            is_metered: true,
            is_approaching_data_limit: verdict.is_approaching,
            is_over_data_limit: verdict.is_over,
            ..cost
        };
        host.network.cost = Signal::Known { value, since, source };
    }

    /// What has to be written down; unless `is_urgent`, only after some time.
    pub(crate) fn take_unkept(&mut self, is_urgent: bool) -> Option<Write> {
        if self.ledgers == self.kept {
            return None;
        }
        if !is_urgent && self.kept_at.is_some_and(|time| time.elapsed() < KEPT_EVERY) {
            return None;
        }
        let value = serde_json::to_string(&self.ledgers).ok()?;
        self.kept.clone_from(&self.ledgers);
        self.kept_at = Some(Instant::now());
        Some(Write::Setting { name: SETTING.to_owned(), value: Some(value) })
    }
}

fn read(reader: &dyn Reader) -> Result<Ledgers, StoreError> {
    let Some(text) = reader.setting(SETTING)? else { return Ok(Ledgers::new()) };
    serde_json::from_str(&text).map_err(|error| StoreError::CannotRead(error.to_string()))
}
