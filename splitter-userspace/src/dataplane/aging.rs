//! Lets time go by for what the kernel half remembers; for tests, which cannot move the kernel's clock.

use splitter_common::tables::Exceptions;

use super::{DataPlane, Error};

impl DataPlane {
    /// All that is remembered of connections and fragments is `ns` nanoseconds older.
    ///
    /// # Errors
    /// The kernel refused.
    pub fn age(&mut self, ns: u64) -> Result<(), Error> {
        for table in Exceptions::ALL {
            for (key, flow) in self.maps.recorded(table)? {
                self.maps.insert(table, &key, &flow.older(ns))?;
            }
        }
        for (key, fragment) in self.maps.fragments()? {
            self.maps.set_fragment(&key, &fragment.older(ns))?;
        }
        for (port, translation) in self.translations()? {
            self.maps.set_translation(port, &translation.older(ns))?;
        }
        Ok(())
    }
}
