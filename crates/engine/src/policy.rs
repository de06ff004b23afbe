//! The owner's settings that decisions depend on.

/// Settings that hold from start to stop; live ones are `longhaul_contract::Limits`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Retries without progress after which a connected operation fails [W 1.14].
    pub retries_max: u8,
    pub retry_delay_min_ms: u64,
    pub retry_delay_max_ms: u64,
    /// How long something blocked on the machine (disk space, folder) waits before it looks again by itself.
    pub blocked_delay_ms: u64,
    /// Live operations one application may have.
    pub operations_per_application: u32,
    /// Group names one application may have [W 1.8].
    pub groups_per_application: u32,
    /// Seconds a result is kept that nobody has consumed.
    pub keep_unconsumed_seconds: i64,
    /// Seconds a consumed result is kept.
    pub keep_consumed_seconds: i64,
    /// A change of the network's verdict must hold this long before something stopped by it starts again.
    pub settle_ms: u64,
    /// IANA name of the machine's zone, for scheduled rates that name none; UTC when absent.
    pub time_zone: Option<String>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            retries_max: 3,
            retry_delay_min_ms: 1_000,
            retry_delay_max_ms: 300_000,
            blocked_delay_ms: 30_000,
            operations_per_application: 1_000_000,
            groups_per_application: 10_000,
            keep_unconsumed_seconds: 30 * 86_400,
            keep_consumed_seconds: 7 * 86_400,
            settle_ms: 1_000,
            time_zone: None,
        }
    }
}
