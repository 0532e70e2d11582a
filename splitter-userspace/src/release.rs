//! What an operator does to a split, as a pure state machine: weights, switch, rollback.
//!
//! A release begins with the first change away from a settled split (one pool at 100 %) or from the one the
//! service began with, and `rollback` goes back to there. `stable` changes hands only when its holder's
//! weight becomes 0 and the other of blue and green has some; canary is never stable.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    api::model::Split,
    config::{PoolName, Weight},
    table::share::{idle, swapped_ends},
};

/// Said when there is no release to roll back.
pub const NOTHING_TO_UNDO: &str = "nothing to undo: the split is where its last release began";

/// A service's split and the way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    current: Split,
    baseline: Option<Split>,
}

impl Release {
    /// The state of a service that begins with `split`, whose weights name every pool of the service and add
    /// up to 100 %. A stable pool that has no weight hands over at once, which moves no slot.
    pub fn new(split: Split) -> Self {
        Self { current: handed_over(split.stable, split.weights), baseline: None }
    }

    /// The split as it is.
    pub const fn current(&self) -> &Split {
        &self.current
    }

    /// What `rollback` would restore; `None` when there is nothing to undo.
    pub const fn rollback_to(&self) -> Option<&Split> {
        self.baseline.as_ref()
    }

    /// Sets the weights that `asked` names. The others keep theirs, except the stable pool, which takes what
    /// is left unless it is named.
    pub fn weights(&self, asked: &BTreeMap<PoolName, Weight>) -> Result<Self, Refusal> {
        self.check_pools(asked.keys())?;
        let mut weights = self.current.weights.clone();
        weights.extend(asked);
        let stable = self.current.stable;
        if !asked.contains_key(&stable) {
            let rest = rest_for(stable, &weights).ok_or_else(|| Refusal::overfull(stable, &weights))?;
            weights.insert(stable, rest);
        }
        check_sum(stable, &weights)?;
        Ok(self.advance(handed_over(stable, weights)))
    }

    /// Gives `pool` everything, and makes it stable.
    pub fn switch(&self, pool: PoolName) -> Result<Self, Refusal> {
        self.check_pools([&pool])?;
        if pool == PoolName::Canary {
            return Err(Refusal::CanaryStable);
        }
        let weight = |name: &PoolName| if *name == pool { Weight::FULL } else { Weight::ZERO };
        let weights = self.current.weights.keys().map(|name| (*name, weight(name))).collect();
        Ok(self.advance(Split { stable: pool, weights }))
    }

    /// Back to where the release began, from any state; `None` when there is
    /// [nothing to undo](NOTHING_TO_UNDO).
    pub fn rollback(&self) -> Option<Self> {
        self.baseline.clone().map(|current| Self { current, baseline: None })
    }

    /// Takes over a whole split, as a new configuration file brings one.
    pub fn replace(&self, split: Split) -> Result<Self, Refusal> {
        self.check_pools(split.weights.keys())?;
        if split.stable == PoolName::Canary {
            return Err(Refusal::CanaryStable);
        }
        check_sum(split.stable, &split.weights)?;
        let mut weights: BTreeMap<_, _> =
            self.current.weights.keys().map(|&pool| (pool, Weight::ZERO)).collect();
        weights.extend(split.weights);
        let next = handed_over(split.stable, weights);
        match swapped_ends(&self.current, &next) {
            Some(slots) => Err(Refusal::SwapsEnds { from: self.current.stable, to: next.stable, slots }),
            None => Ok(self.advance(next)),
        }
    }

    fn check_pools<'a>(&self, pools: impl IntoIterator<Item = &'a PoolName>) -> Result<(), Refusal> {
        match pools.into_iter().find(|pool| !self.current.weights.contains_key(pool)) {
            Some(&pool) => Err(Refusal::UnknownPool { pool, known: names(&self.current.weights) }),
            None => Ok(()),
        }
    }

    /// The state after a change to `next`, which begins a release if none is under way. What changes nothing
    /// leaves the way back as it is; what arrives where the release began ends it.
    fn advance(&self, next: Split) -> Self {
        if next == self.current {
            return self.clone();
        }
        let under_way = self.baseline.as_ref().filter(|_| !is_settled(&self.current));
        let baseline = Some(under_way.unwrap_or(&self.current)).filter(|&baseline| *baseline != next);
        Self { baseline: baseline.cloned(), current: next }
    }
}

/// The middle of a change's line: `canary 1% -> 5%`. The stable pool's share follows from the others', so it
/// is named only when stable changes hands: `blue 100% -> 0%, green 0% -> 100%, stable blue -> green`.
pub fn describe(before: &Split, after: &Split) -> String {
    let handover = before.stable != after.stable;
    let change = |pool: PoolName| {
        let (from, to) = (weight(&before.weights, pool), weight(&after.weights, pool));
        let said = from != to && (handover || pool != after.stable);
        said.then(|| format!("{pool} {from} -> {to}"))
    };
    let mut parts: Vec<String> = PoolName::ALL.into_iter().filter_map(change).collect();
    if handover {
        parts.push(format!("stable {} -> {}", before.stable, after.stable));
    }
    if parts.is_empty() { format!("stays {}", listing(&after.weights)) } else { parts.join(", ") }
}

/// Why a change is not made; the split stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The service has no such pool.
    #[error(
        "the service has no pool `{pool}`: it has {known}; add `{pool}` to its configuration or name another"
    )]
    UnknownPool {
        /// The pool that was named.
        pool: PoolName,
        /// The pools there are.
        known: String,
    },
    /// The weights do not add up to 100 %.
    #[error("the weights add up to {sum}%, not 100% ({weights}): {cure}")]
    Sum {
        /// Percent, two decimals at most.
        sum: String,
        /// The weights by pool.
        weights: String,
        /// What to do.
        cure: String,
    },
    /// Canary was to become stable.
    #[error(
        "canary never becomes stable: to promote its version, run that version in blue or green and `switch` there; \
         to send every new connection to canary, set its weight to 100%"
    )]
    CanaryStable,
    /// Blue and green would change ends while both hold slots.
    #[error(
        "making {to} stable while {from} keeps a share would make them change ends and move {slots} slots: `switch` \
         to {to} first, then raise {from}"
    )]
    SwapsEnds {
        /// The stable pool.
        from: PoolName,
        /// The one that was to become stable.
        to: PoolName,
        /// Slots that would go to another pool.
        slots: usize,
    },
}

impl Refusal {
    /// Nothing is left for the stable pool, which was not named.
    fn overfull(stable: PoolName, weights: &BTreeMap<PoolName, Weight>) -> Self {
        let others: BTreeMap<_, _> =
            weights.iter().filter(|(pool, _)| **pool != stable).map(copied).collect();
        let cure = format!("lower one of them; {stable} is stable and takes what is left");
        Self::Sum { sum: percent(sum(&others)), weights: listing(&others), cure }
    }

    /// The stable pool was named, and what it was given does not fit.
    fn misfit(stable: PoolName, weights: &BTreeMap<PoolName, Weight>) -> Self {
        let cure = match rest_for(stable, weights) {
            Some(rest) => {
                format!("set {stable}={rest}, or leave {stable} out: it is stable and takes what is left")
            }
            None => "lower one of them".to_owned(),
        };
        Self::Sum { sum: percent(sum(weights)), weights: listing(weights), cure }
    }
}

/// The split in which the stable pool has handed over if it has no weight and the other one has.
fn handed_over(stable: PoolName, weights: BTreeMap<PoolName, Weight>) -> Split {
    let heir = idle(stable);
    let hands_over = weight(&weights, stable) == Weight::ZERO && weight(&weights, heir) > Weight::ZERO;
    Split { stable: if hands_over { heir } else { stable }, weights }
}

fn is_settled(split: &Split) -> bool {
    split.weights.values().any(|&weight| weight == Weight::FULL)
}

fn check_sum(stable: PoolName, weights: &BTreeMap<PoolName, Weight>) -> Result<(), Refusal> {
    if sum(weights) == Weight::FULL.basis_points() { Ok(()) } else { Err(Refusal::misfit(stable, weights)) }
}

/// What the pools other than `stable` leave; `None` when they have more than 100 %.
fn rest_for(stable: PoolName, weights: &BTreeMap<PoolName, Weight>) -> Option<Weight> {
    let others = sum(weights) - weight(weights, stable).basis_points();
    Weight::FULL.basis_points().checked_sub(others).and_then(Weight::from_basis_points)
}

/// Basis points of all pools together.
fn sum(weights: &BTreeMap<PoolName, Weight>) -> u32 {
    weights.values().map(|weight| weight.basis_points()).sum()
}

fn weight(weights: &BTreeMap<PoolName, Weight>, pool: PoolName) -> Weight {
    weights.get(&pool).copied().unwrap_or_default()
}

fn copied((&pool, &weight): (&PoolName, &Weight)) -> (PoolName, Weight) {
    (pool, weight)
}

fn percent(points: u32) -> String {
    (f64::from(points) / 100.0).to_string()
}

/// `blue 95%, canary 5%`.
fn listing(weights: &BTreeMap<PoolName, Weight>) -> String {
    weights.iter().map(|(pool, weight)| format!("{pool} {weight}")).collect::<Vec<_>>().join(", ")
}

/// `blue, canary`.
fn names(weights: &BTreeMap<PoolName, Weight>) -> String {
    weights.keys().map(|pool| pool.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
