//! What happens in the demo, as data.

use std::time::Duration;

use splitter_userspace::config::{ForwardMode, PoolName, Protocol};

use super::shares::Shares;
use crate::lab::{
    PoolSizes, ServicePlan,
    addresses::{Host, VIP4, VIP6},
};

/// Hosts of each pool.
pub const POOLS: PoolSizes = PoolSizes { blue: 2, green: 2, canary: 1 };

/// Short, so that the slots come to rest while the demo runs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// One step of the release.
#[derive(Clone, Debug)]
pub struct Step {
    /// E.g. `canary 5 %`.
    pub name: &'static str,
    /// Calls of `splitter`, for each service in turn.
    pub commands: Vec<Vec<String>>,
    /// Share of new connections that each pool is to have afterwards.
    pub wanted: Shares,
    /// Part of all long-lived connections that are opened in this step, percent.
    pub opens: u32,
    /// What happens then.
    pub then: Then,
}

/// What follows a shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Watch for this long.
    Watch(Duration),
    /// Close blue's long-lived connections one after the other, until blue has none.
    EmptyBlue,
}

/// The two services: one application, reached by IPv4 and IPv6.
pub fn services() -> [ServicePlan; 2] {
    let plan = ServicePlan {
        name: "web",
        address: VIP4.into(),
        port: 80,
        protocol: Protocol::Tcp,
        idle_timeout: IDLE_TIMEOUT,
        health: Some(Duration::from_millis(500)),
        mode: ForwardMode::Dnat,
        crossed: false,
    };
    [plan, ServicePlan { name: "web6", address: VIP6.into(), ..plan }]
}

/// The whole release.
pub fn steps() -> Vec<Step> {
    vec![
        step("all blue", &[], &[(PoolName::Blue, 100)], 6).opening(80),
        canary("canary 1 %", 1, 14),
        canary("canary 5 %", 5, 10),
        canary("canary 25 %", 25, 8).opening(20),
        step("rollback", &["rollback"], &[(PoolName::Blue, 100)], 8),
        step("switch to green", &["switch green"], &[(PoolName::Green, 100)], 8),
        drain_of_blue(),
    ]
}

fn canary(name: &'static str, percent: u32, seconds: u64) -> Step {
    let command = format!("weights canary={percent}");
    step(name, &[&command], &[(PoolName::Blue, 100 - percent), (PoolName::Canary, percent)], seconds)
}

/// The commands are written without the service, which comes second in all of them.
fn step(name: &'static str, commands: &[&str], wanted: &[(PoolName, u32)], seconds: u64) -> Step {
    let services = services();
    let calls =
        commands.iter().flat_map(|command| services.iter().map(|service| call(command, service.name, name)));
    Step {
        name,
        commands: calls.collect(),
        wanted: wanted.iter().map(|(pool, percent)| (*pool, f64::from(*percent) / 100.0)).collect(),
        opens: 0,
        then: Then::Watch(Duration::from_secs(seconds)),
    }
}

fn drain_of_blue() -> Step {
    let blue: Vec<_> = (1..=POOLS.blue).map(|number| Host::new(PoolName::Blue, number)).collect();
    let drain = |service: &ServicePlan, host: &Host| {
        call(&format!("drain {}", service.endpoint(host)), service.name, "drain of blue")
    };
    let commands =
        services().iter().flat_map(|service| blue.iter().map(|host| drain(service, host))).collect();
    let quiet = step("drain of blue", &[], &[(PoolName::Green, 100)], 0);
    Step { commands, then: Then::EmptyBlue, ..quiet }
}

/// `weights canary=5` for `web` becomes `weights web canary=5 --reason ...`.
fn call(command: &str, service: &str, reason: &str) -> Vec<String> {
    let mut words = command.split(' ').map(str::to_owned).collect::<Vec<_>>();
    words.insert(1, service.to_owned());
    words.extend(["--reason".to_owned(), format!("demo: {reason}")]);
    words
}

impl Step {
    fn opening(self, percent: u32) -> Self {
        Self { opens: percent, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_wants_everything_somewhere() {
        for step in steps() {
            let sum: f64 = step.wanted.values().sum();
            assert!((sum - 1.0).abs() < 1e-9, "{}", step.name);
        }
    }

    #[test]
    fn all_long_lived_connections_are_opened() {
        assert_eq!(steps().iter().map(|step| step.opens).sum::<u32>(), 100);
    }

    #[test]
    fn commands_name_both_services() {
        let steps = steps();
        let words = ["weights", "web6", "canary=5", "--reason", "demo: canary 5 %"];
        assert_eq!(steps[2].commands[1], words);
        assert_eq!(steps[6].commands[0][..3], ["drain", "web", "10.0.1.11:8080"]);
        assert_eq!(steps[6].commands.len(), 4);
    }
}
