//! How full the tables of exceptions are, and what the kernel threw out of them. Pure.
//!
//! An LRU map does not say what it evicts. But every entry is counted as it comes and as it goes, and what came, did
//! not go and is not there was evicted. The counters of what came are read before the table and those of what
//! went after it, so the number is never too large.

use splitter_common::{abi::TableCounters, tables::Exceptions};

/// One table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Entries at the last sweep.
    pub entries: u64,
    /// Entries evicted so far, at least.
    pub evicted: u64,
    /// Entries that the daemon removed so far.
    removed: u64,
}

impl Fill {
    /// The daemon removed an entry.
    pub const fn removed(&mut self) {
        self.removed += 1;
    }

    /// Takes in a reading of the table; returns how many more were evicted than was known.
    pub fn read(
        &mut self,
        table: Exceptions,
        entries: u64,
        before: &TableCounters,
        after: &TableCounters,
    ) -> u64 {
        let (came, went) = match table {
            Exceptions::Flows => (before.recorded + before.promoted, after.forgotten_flows),
            Exceptions::Embryonic => (before.embryonic, after.promoted + after.forgotten_embryonic),
            // Not counted: they are no exceptions.
            Exceptions::Previews => (0, 0),
        };
        let evicted = came.saturating_sub(went + self.removed + entries).max(self.evicted);
        let more = evicted - self.evicted;
        (self.entries, self.evicted) = (entries, evicted);
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_and_did_not_go_and_is_not_there_was_evicted() {
        let counters = TableCounters {
            recorded: 70,
            promoted: 30,
            embryonic: 50,
            forgotten_flows: 10,
            forgotten_embryonic: 5,
            ..TableCounters::default()
        };
        let mut flows = Fill::default();
        flows.removed();
        assert_eq!(flows.read(Exceptions::Flows, 60, &counters, &counters), 29);
        assert_eq!(flows.read(Exceptions::Flows, 60, &counters, &counters), 0);
        assert_eq!(flows.read(Exceptions::Flows, 80, &counters, &counters), 0, "it never falls");
        assert_eq!((flows.entries, flows.evicted), (80, 29));
        let mut embryonic = Fill::default();
        assert_eq!(embryonic.read(Exceptions::Embryonic, 15, &counters, &counters), 0);
        assert_eq!(embryonic.read(Exceptions::Embryonic, 10, &counters, &counters), 5);
    }
}
