//! Checks of one service: its weights, its stable pool, its health check.

use super::{PoolName, Protocol, Weight, mistakes::Mistakes, pool::PoolDraft, service::ServiceDraft};

/// Reports what is wrong with the service on its own.
pub(super) fn check(service: &ServiceDraft, mistakes: &mut Mistakes<'_>) {
    check_sum(service, mistakes);
    check_stable(service, mistakes);
    check_health(service, mistakes);
}

/// Weights by pool; `None` when one could not be read.
fn weights(service: &ServiceDraft) -> Option<Vec<(PoolName, Weight)>> {
    let weight = |pool: &PoolDraft| Some((pool.name, pool.weight.as_ref()?.value));
    service.pools.iter().map(weight).collect()
}

fn check_sum(service: &ServiceDraft, mistakes: &mut Mistakes<'_>) {
    let Some(weights) = weights(service).filter(|weights| !weights.is_empty()) else { return };
    let sum: u32 = weights.iter().map(|(_, weight)| weight.basis_points()).sum();
    let full = Weight::FULL.basis_points();
    if sum != full {
        let parts: Vec<_> = weights.iter().map(|(name, weight)| format!("{name} {weight}")).collect();
        let (change, by) = if sum < full { ("raise", full - sum) } else { ("lower", sum - full) };
        let message = format!(
            "weights add up to {}, not 100% ({}): {change} them by {}",
            percent(sum),
            parts.join(", "),
            percent(by)
        );
        mistakes.absent(&service.pools_place, message);
    }
}

fn percent(points: u32) -> String {
    format!("{}%", f64::from(points) / 100.0)
}

fn check_stable(service: &ServiceDraft, mistakes: &mut Mistakes<'_>) {
    let Some(stable) = &service.stable else { return };
    let weight_of = |name| {
        let pool = service.pools.iter().find(|pool| pool.name == name)?;
        Some(pool.weight.as_ref().map(|weight| weight.value))
    };
    let other = if stable.value == PoolName::Blue { PoolName::Green } else { PoolName::Blue };
    match weight_of(stable.value) {
        None => {
            let message = format!("there is no pool `{0}`: add [service.pool.{0}]", stable.value);
            mistakes.absent(&stable.place, message);
        }
        Some(Some(Weight::ZERO)) if matches!(weight_of(other), Some(Some(weight)) if weight > Weight::ZERO) =>
        {
            let message =
                format!("{} has weight 0 and {other} has not: set stable = \"{other}\"", stable.value);
            mistakes.wrong(&stable.place, message);
        }
        Some(_) => {}
    }
}

fn check_health(service: &ServiceDraft, mistakes: &mut Mistakes<'_>) {
    let udp = service.protocol.as_ref().is_some_and(|protocol| protocol.value == Protocol::Udp);
    if let Some(health) = service.health.as_ref().filter(|_| udp) {
        let message = "the health check connects over TCP and this service is udp: remove [service.health]";
        mistakes.wrong(&health.place, message);
    }
}
