//! Numbers about the service for Prometheus (OpenMetrics text). Labels are words of ours: no names, paths or addresses.

use std::fmt;
use std::sync::atomic::AtomicI64;

use longhaul_contract::Cause;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CauseLabel {
    cause: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StatusLabel {
    status: u16,
}

/// All numbers that are kept; what can be looked up is sampled when somebody asks.
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) wishes: Counter,
    pub(crate) facts: Counter,
    pub(crate) commit_seconds: Histogram,
    pub(crate) commit_changes: Histogram,
    pub(crate) commit_failures: Counter,
    pub(crate) attempts: Counter,
    failures: Family<CauseLabel, Counter>,
    pub(crate) bytes_fetched: Counter,
    pub(crate) bytes_sent: Counter,
    requests: Family<StatusLabel, Counter>,
    pub(crate) connections: Gauge<i64, AtomicI64>,
    pub(crate) streams: Gauge<i64, AtomicI64>,
    workers: Gauge<i64, AtomicI64>,
    live_operations: Gauge<i64, AtomicI64>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("longhaul"),
            wishes: Counter::default(),
            facts: Counter::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            commit_changes: Histogram::new(exponential_buckets(1.0, 4.0, 8)),
            commit_failures: Counter::default(),
            attempts: Counter::default(),
            failures: Family::default(),
            bytes_fetched: Counter::default(),
            bytes_sent: Counter::default(),
            requests: Family::default(),
            connections: Gauge::default(),
            streams: Gauge::default(),
            workers: Gauge::default(),
            live_operations: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("wishes", "Wishes of callers that were decided", self.wishes.clone());
        registry.register(
            "facts",
            "Reports of workers and of the host that were decided",
            self.facts.clone(),
        );
        registry.register(
            "commit_duration_seconds",
            "From handing changes to the store until they were durable",
            self.commit_seconds.clone(),
        );
        registry.register("commit_changes", "Changes in one commit", self.commit_changes.clone());
        registry.register("commit_failures", "Commits the store refused", self.commit_failures.clone());
        registry.register("attempts", "Attempts that were begun", self.attempts.clone());
        registry.register("attempt_failures", "Attempts that failed, by cause", self.failures.clone());
        registry.register(
            "bytes_fetched",
            "Body bytes of finished downloads, with those that were thrown away",
            self.bytes_fetched.clone(),
        );
        registry.register(
            "bytes_sent",
            "Body bytes of uploads that were finished, over all their attempts",
            self.bytes_sent.clone(),
        );
        registry.register("requests", "Requests answered, by HTTP status", self.requests.clone());
        registry.register("connections", "Open connections of callers", self.connections.clone());
        registry.register("streams", "Readers of events and of unfinished content", self.streams.clone());
        registry.register("workers", "Workers that move bytes", self.workers.clone());
        registry.register("live_operations", "Operations that are not final", self.live_operations.clone());
    }

    pub(crate) fn failed(&self, cause: Cause) {
        self.failures.get_or_create(&CauseLabel { cause: cause.word() }).inc();
    }

    pub(crate) fn answered(&self, status: u16) {
        self.requests.get_or_create(&StatusLabel { status }).inc();
    }

    /// The whole document, with these sampled numbers.
    ///
    /// # Errors
    /// Never in practice: writing to memory does not fail.
    pub(crate) fn encode(&self, workers: usize, live_operations: u64) -> Result<String, fmt::Error> {
        self.workers.set(i64::try_from(workers).unwrap_or(i64::MAX));
        self.live_operations.set(i64::try_from(live_operations).unwrap_or(i64::MAX));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Counts one thing as long as it lives.
pub(crate) struct Counted(Gauge<i64, AtomicI64>);

impl Counted {
    pub(crate) fn new(gauge: &Gauge<i64, AtomicI64>) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
