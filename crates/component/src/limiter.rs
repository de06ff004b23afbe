//! How much memory a component may have.

use wasmtime::ResourceLimiter;

/// What one element of a table takes, about.
const ELEMENT_BYTES: usize = 16;

/// Counts all linear memories and tables together.
#[derive(Debug)]
pub(crate) struct Limiter {
    bytes_max: usize,
    bytes: usize,
    /// Something was refused.
    was_reached: bool,
}

impl Limiter {
    pub(crate) fn new(bytes_max: Option<u64>) -> Self {
        let bytes_max = bytes_max.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        Self { bytes_max, bytes: 0, was_reached: false }
    }

    /// For people: that it has wanted more.
    pub(crate) fn remark(&self) -> Option<String> {
        self.was_reached
            .then(|| format!("it wanted more memory than the {} bytes it may have", self.bytes_max))
    }

    fn grow(&mut self, bytes: usize) -> bool {
        let wanted = self.bytes.saturating_add(bytes);
        let is_allowed = wanted <= self.bytes_max;
        if is_allowed {
            self.bytes = wanted;
        }
        self.was_reached |= !is_allowed;
        is_allowed
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current).saturating_mul(ELEMENT_BYTES)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_count_together() {
        let mut limiter = Limiter::new(Some(3 << 16));
        assert!(limiter.memory_growing(0, 1 << 16, None).unwrap());
        assert!(limiter.memory_growing(0, 1 << 16, None).unwrap());
        assert!(limiter.table_growing(0, 1 << 12, None).unwrap());
        assert_eq!(limiter.remark(), None);
        assert!(!limiter.memory_growing(1 << 16, 2 << 16, None).unwrap());
        assert!(limiter.remark().unwrap().contains("196608 bytes"));
        assert!(Limiter::new(None).memory_growing(0, usize::MAX, None).unwrap());
    }
}
