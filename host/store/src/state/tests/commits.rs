//! What each list of a write set does, one promise a test; in memory, which has the same keys and bytes as sled.

use std::ops::ControlFlow;

use donjon_core::limits::MAX_RULE_VERSIONS;
use donjon_core::state::{StateView, TenantState, WriteSet};
use donjon_core::{AlertState, Fingerprint, GroupKey, IncidentId, RuleId, Seq, TenantId};

use super::super::*;
use crate::testing::Draw;

fn tenant() -> TenantId {
    TenantId::from("default")
}

fn committed(write: WriteSet) -> State {
    let state = State::in_memory();
    state.commit(&write).unwrap();
    state
}

fn alert(draw: &mut Draw, tenant: &str, fingerprint: &str) -> AlertState {
    AlertState {
        tenant: TenantId::from(tenant),
        fingerprint: Fingerprint::from(fingerprint),
        ..draw.alert_state()
    }
}

#[test]
fn nothing_is_there_before_the_first_commit() {
    let state = State::in_memory();
    let reader = state.reader();
    assert_eq!(reader.applied().unwrap(), Seq(0));
    assert_eq!(reader.outbox_after(&tenant(), Seq(0), 9).unwrap().records, []);
    assert_eq!(reader.tenants().unwrap(), []);
    assert_eq!(reader.tenant(&tenant()).unwrap(), TenantState::default());
    assert_eq!(reader.rules(&tenant()).unwrap(), []);
    assert_eq!(reader.dump().unwrap(), []);
}

#[test]
fn alerts_are_found_by_tenant_and_fingerprint_and_scanned_by_tenant() {
    let mut draw = Draw::new(1);
    let long = "f".repeat(1020);
    let longer = "f".repeat(1021);
    let mut alerts: Vec<AlertState> = (0..600).map(|n| alert(&mut draw, "a", &format!("f{n}"))).collect();
    alerts.push(alert(&mut draw, "a", &long));
    alerts.push(alert(&mut draw, "a", &longer));
    alerts.push(alert(&mut draw, "b", "f1"));
    let state = committed(WriteSet {
        alerts: alerts.clone(),
        ..WriteSet::default()
    });
    let reader = state.reader();
    for alert in &alerts {
        assert_eq!(
            reader.alert(&alert.tenant, &alert.fingerprint).unwrap().as_ref(),
            Some(alert)
        );
    }
    let count = |tenant: &str, stop_at: usize| {
        let mut seen = 0;
        let visit = |alert: AlertState| {
            assert_eq!(alert.tenant.as_str(), tenant);
            seen += 1;
            if seen == stop_at {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        reader.alerts(&TenantId::from(tenant), visit).unwrap();
        seen
    };
    assert_eq!(
        (count("a", 0), count("a", 300), count("b", 0), count("", 0)),
        (602, 300, 1, 0)
    );
    let longest = reader.dump().unwrap().iter().map(|(key, _)| key.len()).max();
    assert!(longest < Some(1024), "{longest:?}");
}

#[test]
fn tenants_are_told_apart_and_listed() {
    let mut draw = Draw::new(2);
    let long = "t".repeat(500);
    let mut rule = draw.rule();
    rule.tenant = TenantId::from("only-rules");
    let alerts = ["a", "ab", "", "b", &long].map(|tenant| alert(&mut draw, tenant, "f"));
    let state = committed(WriteSet {
        alerts: alerts.to_vec(),
        rules: vec![rule],
        ..WriteSet::default()
    });
    let tenants: Vec<String> = state
        .reader()
        .tenants()
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(tenants, ["", "a", "ab", "b", "only-rules", &long]);
}

#[test]
fn group_keys_are_lists_and_not_their_joined_text() {
    let groups: Vec<GroupKey> = [
        vec!["a,b", "c"],
        vec!["a", "b,c"],
        vec!["a,b,c"],
        vec![],
        vec![""],
        vec!["", ""],
    ]
    .into_iter()
    .map(|values| GroupKey::new(values.into_iter().map(str::to_owned).collect()))
    .chain([
        // Over the limit of a key, told apart by their digest.
        GroupKey::new(vec!["x".repeat(512); 16]),
        GroupKey::new(vec!["x".repeat(512); 15]),
    ])
    .collect();
    let rule = RuleId::from("r");
    let heads = groups
        .iter()
        .zip(0u8..)
        .map(|(group, n)| (tenant(), rule.clone(), group.clone(), IncidentId([n; 16])));
    let state = committed(WriteSet {
        group_heads: heads.collect(),
        ..WriteSet::default()
    });
    for (group, n) in groups.iter().zip(0u8..) {
        let head = state.reader().group_head(&tenant(), &rule, group).unwrap();
        assert_eq!(head, Some(IncidentId([n; 16])), "{group:?}");
    }
    assert_eq!(
        state
            .reader()
            .group_head(&tenant(), &RuleId::from("r2"), &groups[0])
            .unwrap(),
        None
    );
}

#[test]
fn links_are_read_from_both_sides_in_the_order_of_joining() {
    let mut draw = Draw::new(3);
    let incident = IncidentId([9; 16]);
    let mut link = |fingerprint: &str, joined_seq: u64| {
        let mut link = draw.link();
        (link.incident, link.fingerprint) = (incident, Fingerprint::from(fingerprint));
        (link.joined_seq, link.unlinked) = (Seq(joined_seq), None);
        (tenant(), link)
    };
    let links = vec![link("late-but-short", 30), link("z", 10), link("middle", 20)];
    let state = committed(WriteSet {
        links: links.clone(),
        ..WriteSet::default()
    });
    let reader = state.reader();
    let order: Vec<u64> = reader
        .links(&tenant(), incident)
        .unwrap()
        .iter()
        .map(|link| link.joined_seq.0)
        .collect();
    assert_eq!(order, [10, 20, 30]);
    let z = Fingerprint::from("z");
    assert_eq!(reader.incidents_of_alert(&tenant(), &z, 10).unwrap(), [incident]);
    assert_eq!(
        reader
            .incidents_of_alert(&tenant(), &Fingerprint::from(""), 10)
            .unwrap(),
        []
    );

    let mut unlinked = links[1].clone();
    unlinked.1.unlinked = Some(donjon_core::Timestamp(5));
    state
        .commit(&WriteSet {
            links: vec![unlinked.clone()],
            ..WriteSet::default()
        })
        .unwrap();
    assert_eq!(reader.incidents_of_alert(&tenant(), &z, 10).unwrap(), []);
    assert_eq!(
        reader.link(&tenant(), incident, &z).unwrap(),
        Some(unlinked.1),
        "the edge itself stays"
    );
    assert_eq!(reader.links(&tenant(), incident).unwrap().len(), 3);
    state
        .commit(&WriteSet {
            links: vec![links[1].clone()],
            ..WriteSet::default()
        })
        .unwrap();
    assert_eq!(reader.incidents_of_alert(&tenant(), &z, 10).unwrap(), [incident]);
}

#[test]
fn rules_come_in_the_order_of_creation_and_old_versions_stay_up_to_a_limit() {
    let mut draw = Draw::new(4);
    let mut rule = |id: &str, created: u64, version: u32| {
        let mut rule = draw.rule();
        (rule.tenant, rule.id) = (tenant(), RuleId::from(id));
        (rule.created_seq, rule.version) = (Seq(created), version);
        rule
    };
    let kept = u32::try_from(MAX_RULE_VERSIONS).unwrap();
    let mut rules = vec![rule("a", 300, 1), rule("zz", 2, 1), rule("b", 10, 1)];
    rules.extend((1..=kept + 1).map(|version| rule("many", 1, version)));
    let state = committed(WriteSet {
        rules,
        ..WriteSet::default()
    });
    let reader = state.reader();
    let found = reader.rules(&tenant()).unwrap();
    let order: Vec<(&str, u32)> = found.iter().map(|rule| (rule.id.as_str(), rule.version)).collect();
    assert_eq!(order, [("many", kept + 1), ("zz", 1), ("b", 1), ("a", 1)]);
    let many = RuleId::from("many");
    assert_eq!(reader.rule_version(&tenant(), &many, 1).unwrap(), None);
    assert_eq!(
        reader
            .rule_version(&tenant(), &many, 2)
            .unwrap()
            .map(|rule| rule.version),
        Some(2)
    );
    assert_eq!(
        reader.rule(&tenant(), &many).unwrap().map(|rule| rule.version),
        Some(kept + 1)
    );
}

#[test]
fn the_cursor_never_goes_back() {
    let state = committed(WriteSet {
        applied: Seq(5),
        ..WriteSet::default()
    });
    let error = state
        .commit(&WriteSet {
            applied: Seq(4),
            ..WriteSet::default()
        })
        .unwrap_err();
    assert!(
        error.to_string().ends_with("expected a cursor of at least 5, found 4"),
        "{error}"
    );
    state
        .commit(&WriteSet {
            applied: Seq(5),
            ..WriteSet::default()
        })
        .unwrap();
}
