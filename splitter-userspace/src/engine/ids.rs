//! Numbers for backends: the lowest that is free, 0 being no backend.

use std::collections::BTreeSet;

use splitter_common::slot::BackendId;

/// Gives out backend numbers. None comes back while the daemon runs: a slot or a flow may still name it.
#[derive(Debug, Default)]
pub struct BackendIds {
    used: BTreeSet<u16>,
}

impl BackendIds {
    /// The lowest free number, at most `limit`; `None` when all are taken.
    pub fn take(&mut self, limit: u32) -> Option<BackendId> {
        let last = u16::try_from(limit).unwrap_or(BackendId::MAX).min(BackendId::MAX);
        let free = (1..=last).find(|id| !self.used.contains(id))?;
        self.used.insert(free);
        Some(BackendId::new(free))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_start_at_one_and_end_at_the_limit() {
        let mut ids = BackendIds::default();
        let taken: Vec<u16> = std::iter::from_fn(|| ids.take(3)).map(BackendId::get).collect();
        assert_eq!(taken, [1, 2, 3]);
    }
}
