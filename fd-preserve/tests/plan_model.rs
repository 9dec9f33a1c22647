//! `FdPlan` against a model: an interpreter of its steps must end up with the mapping that was
//! asked for. No system call.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::RawFd;

use fd_preserve::{Error, FdPlan, Origin, Step};
use proptest::prelude::*;

/// A descriptor table: number to file. A file is named by the number it had at the start.
type Table = BTreeMap<RawFd, RawFd>;

/// Runs the parent's steps; gives the parked copies. Parks on the numbers of `free`, skipping
/// targets, which the plan leaves to its user.
fn run_parent(plan: &FdPlan, table: &mut Table, free: &mut impl Iterator<Item = RawFd>) -> Table {
    let mut parked = Table::new();
    for step in plan.steps() {
        if let Step::Park { source } = step {
            let number = free
                .find(|number| !plan.is_target(*number) && !table.contains_key(number))
                .unwrap_or(RawFd::MAX);
            table.insert(number, table[&source]);
            parked.insert(source, number);
        }
    }
    parked
}

fn run_child(step: Step, parked: &Table, table: &mut Table) {
    match step {
        Step::Park { .. } => {}
        Step::Keep { fd } => assert!(table.contains_key(&fd), "keeps what is not there: {fd}"),
        Step::Duplicate { from, target } => {
            let from = match from {
                Origin::Fd(fd) => fd,
                Origin::Parked(source) => parked[&source],
            };
            assert_ne!(from, target, "dup3 onto itself is EINVAL");
            table.insert(target, table[&from]);
        }
    }
}

/// Pairs with distinct targets, crowded so that swaps, chains, cycles and fans are common.
fn pairs() -> impl Strategy<Value = Vec<(RawFd, RawFd)>> {
    (1..40_i32).prop_flat_map(|span| {
        let targets = prop::collection::btree_set(0..span, 0..20);
        (targets, prop::collection::vec(0..span, 20))
            .prop_map(|(targets, sources)| sources.into_iter().zip(targets).collect::<Vec<_>>())
    })
}

proptest! {
    // docs/pitfalls.md#crossing-numbers; no step takes a number of its own choice:
    // docs/pitfalls.md#a-temporary-number.
    #![proptest_config(ProptestConfig {
        cases: 20_000, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn steps_lead_to_the_mapping_that_was_asked_for(
        pairs in pairs().prop_shuffle(),
        order in any::<prop::sample::Index>(),
        highest_first in any::<bool>(),
    ) {
        let plan = FdPlan::resolve(pairs.iter().copied()).expect("distinct targets, no negatives");
        let mut table: Table = pairs.iter().map(|&(source, _)| (source, source)).collect();
        let parked = if highest_first {
            run_parent(&plan, &mut table, &mut (0..200).rev())
        } else {
            run_parent(&plan, &mut table, &mut (0..200))
        };

        // Any order, and twice: what is run again after a failed exec is the same plan.
        let mut steps: Vec<Step> = plan.steps().collect();
        if !steps.is_empty() {
            let at = order.index(steps.len());
            steps.rotate_left(at);
        }
        for _ in 0..2 {
            for &step in &steps {
                run_child(step, &parked, &mut table);
            }
            for &(source, target) in &pairs {
                prop_assert_eq!(table[&target], source, "{:?}: {:?}", pairs, steps);
            }
            steps.reverse();
        }

        // Parked is what must be, and nothing else.
        let targets: BTreeMap<RawFd, RawFd> = pairs.iter().map(|&(s, t)| (t, s)).collect();
        let owed: BTreeSet<RawFd> = pairs
            .iter()
            .map(|&(source, _)| source)
            .filter(|source| targets.get(source).is_some_and(|other| other != source))
            .collect();
        prop_assert_eq!(parked.keys().copied().collect::<BTreeSet<_>>(), owed);
        let planned: Vec<_> = plan.targets().collect();
        prop_assert_eq!(planned, targets.into_keys().collect::<Vec<_>>());
    }

    #[test]
    fn a_target_asked_for_twice_is_refused(
        pairs in pairs(),
        again in any::<prop::sample::Index>()
    ) {
        let mut pairs = pairs;
        pairs.push((51, 52));
        let (_, target) = pairs[again.index(pairs.len())];
        pairs.push((50, target));
        let refused = FdPlan::resolve(pairs);
        let named = matches!(refused, Err(Error::DuplicateTarget { target: t }) if t == target);
        prop_assert!(named);
    }
}

/// The shapes that have names, so that a failure says which one.
#[test]
fn named_shapes_have_the_steps_that_one_would_write_by_hand() {
    type Pairs = [(RawFd, RawFd)];
    let park = |source| Step::Park { source };
    let keep = |fd| Step::Keep { fd };
    let dup = |from, target| Step::Duplicate {
        from: Origin::Fd(from),
        target,
    };
    let parked = |source, target| Step::Duplicate {
        from: Origin::Parked(source),
        target,
    };
    let shapes: [(&str, &Pairs, &[Step]); 8] = [
        ("none", &[], &[]),
        ("one", &[(5, 3)], &[dup(5, 3)]),
        ("identity", &[(3, 3)], &[keep(3)]),
        (
            "swap",
            &[(3, 4), (4, 3)],
            &[park(3), park(4), parked(4, 3), parked(3, 4)],
        ),
        (
            "chain",
            &[(3, 4), (4, 5)],
            &[park(4), dup(3, 4), parked(4, 5)],
        ),
        (
            "cycle",
            &[(3, 4), (4, 5), (5, 3)],
            &[
                park(3),
                park(4),
                park(5),
                parked(5, 3),
                parked(3, 4),
                parked(4, 5),
            ],
        ),
        (
            "one source to three",
            &[(3, 3), (3, 4), (3, 5)],
            &[keep(3), dup(3, 4), dup(3, 5)],
        ),
        (
            "standard streams",
            &[(1, 2), (2, 1)],
            &[park(1), park(2), parked(2, 1), parked(1, 2)],
        ),
    ];
    for (name, pairs, steps) in shapes {
        let plan = FdPlan::resolve(pairs.iter().copied()).expect(name);
        assert_eq!(plan.steps().collect::<Vec<_>>(), steps, "{name}");
    }
}

#[test]
fn negative_numbers_are_named_in_the_error() {
    assert!(matches!(
        FdPlan::resolve([(3, -1)]),
        Err(Error::NegativeTarget { target: -1 })
    ));
    assert!(matches!(
        FdPlan::resolve([(-2, 3)]),
        Err(Error::NegativeSource { source: -2 })
    ));
}
