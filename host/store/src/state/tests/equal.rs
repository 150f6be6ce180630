//! sled and memory hold the same keys and bytes, and keys keep the order of what they are made of (I10).

use donjon_core::batch::KvSpace;
use donjon_core::outbox::OutboxWindow;
use donjon_core::{Fingerprint, GroupKey, IncidentId, RuleId, Seq, TenantId};
use proptest::prelude::*;

use super::super::*;
use crate::testing::Draw;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sled_and_memory_have_equal_dumps_after_the_same_commits(seed: u64) {
        let temp = tempfile::tempdir().unwrap();
        let (on_disk, _) = State::open(temp.path().join("state"), StateOptions::default()).unwrap();
        let in_memory = State::in_memory();
        let mut draw = Draw::new(seed);
        for n in 1..12 {
            let write = draw.write_set(Seq(n));
            in_memory.commit(&write).unwrap();
            on_disk.commit(&write).unwrap();
        }
        let expected = in_memory.reader().dump().unwrap();
        prop_assert_eq!(&on_disk.reader().dump().unwrap(), &expected);
        // Reading goes the same ways too.
        for tenant in in_memory.reader().tenants().unwrap() {
            let letters = |state: &State| state.reader().dead_letters(&tenant, 0, 3).unwrap();
            prop_assert_eq!(letters(&on_disk), letters(&in_memory));
        }
        prop_assert_eq!(on_disk.reader().tenants().unwrap(), in_memory.reader().tenants().unwrap());
        let space = KvSpace::new("rules", &TenantId::from("acme"));
        let scan = |state: &State| state.reader().plugin_kv_scan(&space, "a", Some("ab"), 2).unwrap();
        prop_assert_eq!(scan(&on_disk), scan(&in_memory));
        drop(on_disk);
        let (reopened, how) = State::open(temp.path().join("state"), StateOptions::default()).unwrap();
        prop_assert_eq!(how, Reopened::Existing);
        prop_assert_eq!(&reopened.reader().dump().unwrap(), &expected);
    }

    #[test]
    fn numbers_in_keys_keep_their_order(a: u64, b: u64) {
        let tenant = TenantId::from("t");
        let (window_a, window_b) = (OutboxWindow(a), OutboxWindow(b));
        prop_assert_eq!(keys::outbox(&tenant, window_a).cmp(&keys::outbox(&tenant, window_b)), a.cmp(&b));
        prop_assert_eq!(keys::window_of_outbox(&keys::outbox(&tenant, window_a)), Some(window_a));
        prop_assert_eq!(
            keys::dead_letter(&tenant, Seq(a)).cmp(&keys::dead_letter(&tenant, Seq(b))),
            a.cmp(&b)
        );
        prop_assert_eq!(keys::seq_of_dead_letter(&keys::dead_letter(&tenant, Seq(a))), Some(Seq(a)));
        let (a, b) = (u32::try_from(a >> 32).unwrap(), u32::try_from(b >> 32).unwrap());
        let print = Fingerprint::from("f");
        prop_assert_eq!(keys::history(&tenant, &print, a).cmp(&keys::history(&tenant, &print, b)), a.cmp(&b));
        let rule = RuleId::from("r");
        prop_assert_eq!(keys::rule_version(&tenant, &rule, a).cmp(&keys::rule_version(&tenant, &rule, b)), a.cmp(&b));
    }

    #[test]
    fn different_names_have_different_keys(
        a in ("[ab,]{0,3}", "[ab,]{0,3}", prop::collection::vec("[ab,]{0,3}", 0..3)),
        b in ("[ab,]{0,3}", "[ab,]{0,3}", prop::collection::vec("[ab,]{0,3}", 0..3)),
    ) {
        let head = |(tenant, rule, group): &(String, String, Vec<String>)| {
            keys::group_head(&tenant.as_str().into(), &rule.as_str().into(), &GroupKey::new(group.clone()))
        };
        prop_assert_eq!(head(&a) == head(&b), a == b);
        let id = IncidentId([1; 16]);
        let link = |(tenant, print, _): &(String, String, Vec<String>)| {
            keys::link(&tenant.as_str().into(), id, &print.as_str().into())
        };
        prop_assert_eq!(link(&a) == link(&b), (&a.0, &a.1) == (&b.0, &b.1));
    }

    /// Every page of both stores is what the definition says, for any bounds.
    #[test]
    fn pages_agree_with_their_definition(
        stored in prop::collection::btree_set(prop::collection::vec(0u8..4, 0..4), 0..40),
        prefix in prop::collection::vec(prop::sample::select(vec![0u8, 1, 3, 255]), 0..3),
        beyond in prop::option::of(prop::collection::vec(0u8..4, 0..4)),
        descending: bool,
        limit in 0usize..10,
    ) {
        use super::super::kv::{Kv, KvBatch, Order, Page};
        let memory = memory::MemoryKv::default();
        let mut batch = KvBatch::default();
        for key in &stored {
            batch.put(key.clone(), vec![1]);
        }
        memory.apply(batch).unwrap();
        let order = if descending { Order::Descending } else { Order::Ascending };
        let page = Page { prefix: &prefix, beyond: beyond.as_deref(), order, limit };
        let found: Vec<Vec<u8>> = memory.page(page).unwrap().into_iter().map(|(key, _)| key).collect();
        let mut expected: Vec<Vec<u8>> = stored.into_iter().filter(|key| key.starts_with(&prefix)).collect();
        if let Some(beyond) = &beyond {
            expected.retain(|key| if descending { key < beyond } else { key > beyond });
        }
        if descending {
            expected.reverse();
        }
        expected.truncate(limit);
        prop_assert_eq!(found, expected);
    }
}
