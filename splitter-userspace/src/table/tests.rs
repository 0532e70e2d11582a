use proptest::prelude::*;

use super::{share::idle, *};
use crate::config::Weight;

type Pools = BTreeMap<PoolName, Vec<TableBackend>>;

fn split(stable: PoolName, canary: u32, idle_points: u32) -> Split {
    let points = |points| Weight::from_basis_points(points).unwrap();
    let weights = [
        (stable, points(10_000 - canary - idle_points)),
        (idle(stable), points(idle_points)),
        (PoolName::Canary, points(canary)),
    ];
    Split { stable, weights: weights.into() }
}

/// `count` backends of `pool`, each of the same weight.
fn backends(pool: PoolName, count: u16) -> Vec<TableBackend> {
    let address = |host: u16| format!("10.{}.{}.{}:8443", pool as u8, host >> 8, host & 255).parse().unwrap();
    (0..count).map(|host| TableBackend { address: address(host), weight: 1, usable: true }).collect()
}

fn pools(blue: u16, green: u16, canary: u16) -> Pools {
    PoolName::ALL
        .into_iter()
        .zip([blue, green, canary])
        .map(|(pool, count)| (pool, backends(pool, count)))
        .collect()
}

fn table(split: &Split, pools: &Pools) -> Table {
    build(&TableInput { order: &Order::new("fleet"), split, pools })
}

/// The addresses by slot, so that tables of differently ordered inputs can be compared.
fn addresses(table: &Table, pools: &Pools) -> Vec<Option<SocketAddr>> {
    let address =
        |placement: &Placement| placement.backend.map(|index| pools[&placement.pool][index].address);
    table.placements().iter().map(address).collect()
}

#[test]
fn every_slot_is_owned_as_the_shares_say() {
    let (split, order) = (split(PoolName::Green, 500, 2_000), Order::new("fleet"));
    let table = table(&split, &pools(2, 2, 1));
    let shares = Shares::of(&split);
    for pool in PoolName::ALL {
        for &slot in &order.slots()[shares.positions(pool)] {
            assert_eq!(table.owner(usize::from(slot)), pool);
            assert!(table.placements()[usize::from(slot)].backend.is_some());
        }
    }
}

#[test]
fn a_pool_without_usable_backend_keeps_its_slots() {
    let split = split(PoolName::Blue, 500, 2_500);
    let mut pools = pools(2, 2, 2);
    pools.insert(PoolName::Green, Vec::new());
    pools.get_mut(&PoolName::Canary).unwrap().iter_mut().for_each(|backend| backend.usable = false);
    let table = table(&split, &pools);
    let counts = PoolName::ALL.map(|pool| table.placements().iter().filter(|it| it.pool == pool).count());
    assert_eq!(counts, [11_469, 4_096, 819]);
    for placement in table.placements() {
        assert_eq!(placement.backend.is_some(), placement.pool == PoolName::Blue);
    }
}

#[test]
fn an_unusable_or_weightless_backend_is_as_good_as_absent() {
    let split = split(PoolName::Blue, 0, 0);
    let (mut with, without) = (pools(4, 0, 0), pools(2, 0, 0));
    with.get_mut(&PoolName::Blue).unwrap()[2].usable = false;
    with.get_mut(&PoolName::Blue).unwrap()[3].weight = 0;
    assert_eq!(table(&split, &with), table(&split, &without));
}

#[test]
fn another_port_is_another_backend() {
    let split = split(PoolName::Blue, 0, 0);
    let one = pools(3, 0, 0);
    let mut other = one.clone();
    other.get_mut(&PoolName::Blue).unwrap().iter_mut().for_each(|backend| backend.address.set_port(80));
    assert_ne!(table(&split, &one), table(&split, &other));
}

/// Pins the whole function: hosts of different versions must build the same table.
#[test]
fn the_table_never_changes_between_versions() {
    let table = table(&split(PoolName::Blue, 500, 2_500), &pools(3, 2, 1));
    let image: Vec<u8> =
        table.placements().iter().flat_map(|it| [it.pool as u8, it.backend.unwrap() as u8]).collect();
    assert_eq!(hash::digest(0, &image), 14_273_915_532_282_736_866);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn the_order_of_the_backends_does_not_matter(
        canary in 0..=5_000u32, idle in 0..=5_000u32,
        turn in 0..16usize, weights in prop::array::uniform16(1..=5u32),
    ) {
        let split = split(PoolName::Blue, canary, idle);
        let mut pools = pools(16, 3, 2);
        for (backend, weight) in pools.get_mut(&PoolName::Blue).unwrap().iter_mut().zip(weights) {
            backend.weight = weight;
        }
        let mut turned = pools.clone();
        turned.values_mut().for_each(|backends| {
            let middle = turn % backends.len();
            backends.rotate_left(middle);
            backends.reverse();
        });
        prop_assert_eq!(
            addresses(&table(&split, &pools), &pools),
            addresses(&table(&split, &turned), &turned)
        );
    }

    #[test]
    fn a_pool_is_not_touched_by_another_ones_backends(
        canary in 1..=5_000u32, idle in 1..=4_999u32, blue in 0..8u16,
    ) {
        let split = split(PoolName::Blue, canary, idle);
        let (before, after) = (table(&split, &pools(4, 3, 2)), table(&split, &pools(blue, 3, 2)));
        for (before, after) in before.placements().iter().zip(after.placements()) {
            prop_assert_eq!(before.pool, after.pool);
            prop_assert!(before == after || before.pool == PoolName::Blue);
        }
    }

    #[test]
    fn raising_canary_leaves_the_idle_pool_alone(canary in 0..=4_000u32, more in 1..=1_000u32) {
        let pools = pools(4, 3, 2);
        let before = table(&split(PoolName::Blue, canary, 5_000), &pools);
        let after = table(&split(PoolName::Blue, canary + more, 5_000), &pools);
        for (before, after) in before.placements().iter().zip(after.placements()) {
            prop_assert!(before.pool != PoolName::Canary || after.pool == PoolName::Canary);
            prop_assert!(before.pool != PoolName::Green || before == after);
        }
    }
}
