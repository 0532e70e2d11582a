//! What scenarios find, made once for all that find the same: most do, each takes megabytes, and what the kernel has
//! already need not be written to it.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
    sync::Arc,
};

use anyhow::Result;
use splitter_common::abi::ServiceTable;

use crate::golden::{Scenario, Setting};

/// Settings, by what makes them different from each other.
#[derive(Default)]
pub struct Settings {
    made: HashMap<String, Rc<Setting>>,
    tables: BTreeMap<u32, Vec<Arc<ServiceTable>>>,
}

impl Settings {
    /// That of a scenario.
    ///
    /// # Errors
    /// The scenario makes no sense.
    pub fn of(&mut self, scenario: &Scenario) -> Result<Rc<Setting>> {
        let Scenario { network, slots, dead, resetting, .. } = scenario;
        let key = format!("{network:?} {slots:?} {dead:?} {resetting:?}");
        if let Some(setting) = self.made.get(&key) {
            return Ok(Rc::clone(setting));
        }
        let mut setting = Setting::of(scenario)?;
        for (number, table) in &mut setting.image.services {
            share(self.tables.entry(*number).or_default(), table);
        }
        let setting = Rc::new(setting);
        self.made.insert(key, Rc::clone(&setting));
        Ok(setting)
    }
}

/// Takes a known table instead of one that holds the same.
fn share(known: &mut Vec<Arc<ServiceTable>>, table: &mut Arc<ServiceTable>) {
    match known.iter().find(|it| same(it, table)) {
        Some(it) => *table = Arc::clone(it),
        None => known.push(Arc::clone(table)),
    }
}

fn same(one: &ServiceTable, two: &ServiceTable) -> bool {
    let head = |it: &ServiceTable| (it.key, it.idle_timeout_ns, it.flags, it.mtu);
    head(one) == head(two) && one.slots == two.slots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    #[test]
    fn most_scenarios_share_a_setting() {
        let (mut settings, scenarios) = (Settings::default(), golden::scenarios().unwrap());
        for scenario in &scenarios {
            settings.of(scenario).unwrap();
        }
        assert!(settings.made.len() < scenarios.len() / 2, "{} of {}", settings.made.len(), scenarios.len());
    }
}
