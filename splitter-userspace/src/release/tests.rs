use PoolName::{Blue, Canary, Green};
use proptest::prelude::*;

use super::*;

fn points(points: u32) -> Weight {
    Weight::from_basis_points(points).unwrap()
}

/// Weights in whole percent.
fn percents<const N: usize>(weights: [(PoolName, u32); N]) -> BTreeMap<PoolName, Weight> {
    weights.map(|(pool, percent)| (pool, points(percent * 100))).into()
}

fn split(stable: PoolName, blue: u32, green: u32, canary: u32) -> Split {
    Split { stable, weights: percents([(Blue, blue), (Green, green), (Canary, canary)]) }
}

fn all_blue() -> Release {
    Release::new(split(Blue, 100, 0, 0))
}

fn set<const N: usize>(release: &Release, weights: [(PoolName, u32); N]) -> Release {
    release.weights(&percents(weights)).unwrap()
}

fn refusal<const N: usize>(release: &Release, weights: [(PoolName, u32); N]) -> String {
    release.weights(&percents(weights)).unwrap_err().to_string()
}

#[test]
fn the_stable_pool_takes_what_is_left() {
    let release = set(&set(&all_blue(), [(Green, 20)]), [(Canary, 5)]);
    assert_eq!(*release.current(), split(Blue, 75, 20, 5));
}

#[test]
fn rollback_goes_back_to_where_the_release_began() {
    let release = set(&set(&set(&all_blue(), [(Canary, 1)]), [(Canary, 5)]), [(Canary, 25)]);
    assert_eq!(release.rollback_to(), Some(&split(Blue, 100, 0, 0)));
    assert_eq!(release.rollback(), Some(all_blue()));
    assert_eq!(all_blue().rollback(), None);
}

#[test]
fn a_switch_can_be_rolled_back_until_the_next_release() {
    let green = set(&all_blue(), [(Canary, 5)]).switch(Green).unwrap();
    assert_eq!(*green.current(), split(Green, 0, 100, 0));
    assert_eq!(green.rollback(), Some(all_blue()));
    let next = set(&green, [(Canary, 1)]);
    assert_eq!(next.rollback_to(), Some(&split(Green, 0, 100, 0)));
}

#[test]
fn the_first_release_may_begin_unsettled() {
    let first = Release::new(split(Blue, 60, 30, 10));
    let second = set(&set(&first, [(Canary, 20)]), [(Canary, 30)]);
    assert_eq!(second.rollback(), Some(first));
}

#[test]
fn a_change_of_nothing_keeps_the_way_back() {
    let green = all_blue().switch(Green).unwrap();
    assert_eq!(green.switch(Green), Ok(green.clone()));
    assert_eq!(set(&green, [(Canary, 0)]), green);
}

#[test]
fn going_back_by_hand_ends_the_release() {
    let back = set(&set(&all_blue(), [(Canary, 5)]), [(Canary, 0)]);
    assert_eq!(back, all_blue());
}

#[test]
fn stable_changes_hands_when_its_weight_becomes_0() {
    let shared = set(&all_blue(), [(Green, 95), (Canary, 5), (Blue, 0)]);
    assert_eq!(*shared.current(), split(Green, 0, 95, 5));
    let kept = set(&all_blue(), [(Green, 99)]);
    assert_eq!(kept.current().stable, Blue);
    assert_eq!(Release::new(split(Blue, 0, 100, 0)).current().stable, Green);
}

#[test]
fn canary_never_becomes_stable() {
    let release = set(&all_blue(), [(Canary, 100)]);
    assert_eq!(*release.current(), split(Blue, 0, 0, 100));
    assert_eq!(*set(&release, [(Canary, 5)]).current(), split(Blue, 95, 0, 5));
    assert_eq!(release.switch(Canary), Err(Refusal::CanaryStable));
    assert_eq!(release.replace(split(Canary, 0, 0, 100)), Err(Refusal::CanaryStable));
}

#[test]
fn rollback_may_swap_the_ends() {
    let first = Release::new(split(Blue, 40, 40, 20));
    let swapped = set(&set(&first, [(Blue, 0), (Green, 80)]), [(Blue, 10)]);
    assert_eq!(*swapped.current(), split(Green, 10, 70, 20));
    assert_eq!(swapped.rollback(), Some(first));
}

#[test]
fn a_replacement_that_swaps_the_ends_is_refused() {
    let release = Release::new(split(Blue, 70, 30, 0));
    assert_eq!(
        release.replace(split(Green, 70, 30, 0)).unwrap_err().to_string(),
        "making green stable while blue keeps a share would make them change ends and move 9830 slots: `switch` to \
         green first, then raise blue"
    );
    assert_eq!(*release.replace(split(Green, 0, 90, 10)).unwrap().current(), split(Green, 0, 90, 10));
}

#[test]
fn unknown_pools_are_refused_by_name() {
    let release = Release::new(Split { stable: Blue, weights: percents([(Blue, 100), (Canary, 0)]) });
    let message = "the service has no pool `green`: it has blue, canary; add `green` to its configuration or name another";
    assert_eq!(refusal(&release, [(Green, 5)]), message);
    assert_eq!(release.switch(Green).unwrap_err().to_string(), message);
}

#[test]
fn sums_are_refused_with_the_cure() {
    let release = Release::new(split(Blue, 80, 20, 0));
    assert_eq!(
        refusal(&release, [(Canary, 5), (Blue, 95)]),
        "the weights add up to 120%, not 100% (blue 95%, green 20%, canary 5%): set blue=75%, or leave blue out: it is \
         stable and takes what is left"
    );
    assert_eq!(
        refusal(&release, [(Canary, 85)]),
        "the weights add up to 105%, not 100% (green 20%, canary 85%): lower one of them; blue is stable and takes \
         what is left"
    );
    assert_eq!(
        refusal(&release, [(Canary, 85), (Blue, 1)]),
        "the weights add up to 106%, not 100% (blue 1%, green 20%, canary 85%): lower one of them"
    );
}

#[test]
fn changes_are_described_in_one_line() {
    let says = |before, after| describe(&before, &after);
    assert_eq!(says(split(Blue, 99, 0, 1), split(Blue, 95, 0, 5)), "canary 1% -> 5%");
    assert_eq!(
        says(split(Blue, 100, 0, 0), split(Green, 0, 100, 0)),
        "blue 100% -> 0%, green 0% -> 100%, stable blue -> green"
    );
    assert_eq!(says(split(Blue, 95, 0, 5), split(Blue, 80, 20, 0)), "green 0% -> 20%, canary 5% -> 0%");
    assert_eq!(says(split(Blue, 95, 0, 5), split(Blue, 95, 0, 5)), "stays blue 95%, green 0%, canary 5%");
}

#[derive(Clone, Debug)]
enum Step {
    Weights(BTreeMap<PoolName, Weight>),
    Switch(PoolName),
    Rollback,
    Replace(Split),
}

fn pool() -> impl Strategy<Value = PoolName> {
    prop::sample::select(PoolName::ALL.to_vec())
}

/// Round weights, so that sums often come out right.
fn weights() -> impl Strategy<Value = BTreeMap<PoolName, Weight>> {
    prop::collection::btree_map(pool(), (0..=10u32).prop_map(|tenths| points(tenths * 1000)), 0..=3)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => weights().prop_map(Step::Weights),
        2 => pool().prop_map(Step::Switch),
        1 => Just(Step::Rollback),
        2 => (pool(), weights()).prop_map(|(stable, weights)| Step::Replace(Split { stable, weights })),
    ];
    prop::collection::vec(step, 0..30)
}

/// The state after `step`; refused steps leave it as it is.
fn take(release: &Release, step: Step) -> Release {
    let next = match step {
        Step::Weights(weights) => release.weights(&weights).ok(),
        Step::Switch(pool) => release.switch(pool).ok(),
        Step::Rollback => release.rollback(),
        Step::Replace(split) => release.replace(split).ok(),
    };
    next.unwrap_or_else(|| release.clone())
}

fn check(split: &Split) -> Result<(), TestCaseError> {
    prop_assert_eq!(sum(&split.weights), 10_000);
    prop_assert_eq!(split.weights.len(), 3);
    prop_assert_ne!(split.stable, Canary);
    let idle_has_all = weight(&split.weights, split.stable) == Weight::ZERO
        && weight(&split.weights, idle(split.stable)) > Weight::ZERO;
    prop_assert!(!idle_has_all, "{:?} should have handed over", split);
    Ok(())
}

proptest! {
    #[test]
    fn any_sequence_keeps_the_split_whole(steps in steps()) {
        let mut release = all_blue();
        for step in steps {
            let rolls_back = matches!(step, Step::Rollback);
            let next = take(&release, step);
            check(next.current())?;
            if !rolls_back {
                prop_assert_eq!(swapped_ends(release.current(), next.current()), None);
            }
            if let Some(baseline) = next.rollback_to() {
                prop_assert_ne!(baseline, next.current());
                let back = next.rollback().unwrap();
                prop_assert_eq!(back.current(), baseline);
                prop_assert_eq!(back.rollback(), None);
            }
            release = next;
        }
    }

    #[test]
    fn a_release_always_leads_back_to_its_beginning(steps in steps()) {
        let (mut release, mut beginning) = (all_blue(), None);
        for step in steps {
            let rolls_back = matches!(step, Step::Rollback);
            let next = take(&release, step);
            if next.current() != release.current() {
                let begins = beginning.is_none() || is_settled(release.current());
                beginning = if begins { Some(release.current().clone()) } else { beginning };
                beginning = beginning.filter(|beginning| !rolls_back && beginning != next.current());
            }
            prop_assert_eq!(next.rollback_to(), beginning.as_ref());
            release = next;
        }
    }
}
