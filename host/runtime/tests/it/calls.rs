//! Running plugins: what a batch gets from them, and how they fail.

use std::sync::Arc;
use std::time::{Duration, Instant};

use donjon_core::batch::{BatchBuilder, Cell, Change, KvValue, KvWrite};
use donjon_core::{RuleId, Seq, TenantId, Timestamp};
use donjon_runtime::{CallError, CorrelateOutcome, Limits, Plugin, PluginCalls as _, Role};

use crate::guests::{self, ENRICHER, Memory, batch, batch_of, correlator, module, quick, rule, runtime};

async fn started(limits: Limits) -> Plugin {
    guests::start(&runtime(limits), &correlator()).await.unwrap()
}

fn verdicts(outcome: &CorrelateOutcome) -> Vec<(usize, &str, &str)> {
    let all = outcome.findings.verdicts.iter();
    all.map(|v| (v.alert, v.rule.as_str(), v.group_key[0].as_str()))
        .collect()
}

fn failed(outcome: &CorrelateOutcome) -> Vec<usize> {
    outcome.failed.iter().map(|(alert, _)| *alert).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_judged_by_the_rules_of_its_tenant() {
    let plugin = started(quick()).await;
    let tenant = TenantId::from("acme");
    assert_eq!(plugin.configured_version(&tenant), None);
    let reports = plugin
        .configure(&tenant, 7, &[rule("first"), rule("second")])
        .await
        .unwrap()
        .reports;
    assert_eq!(
        reports.iter().map(|r| r.rule.as_str()).collect::<Vec<_>>(),
        ["first", "second"]
    );
    assert!(reports[0].outcome.as_ref().unwrap().indexed);
    assert_eq!(plugin.configured_version(&tenant), Some(7));

    let outcome = plugin.correlate(batch(&["a", "b"])).await;
    assert_eq!(verdicts(&outcome), [(0, "first", "fp-a"), (1, "first", "fp-b")]);
    assert_eq!(
        (outcome.failed.len(), outcome.dropped, outcome.kv_writes.len()),
        (0, 0, 0)
    );
    assert_eq!((plugin.counters().calls, plugin.counters().failures), (2, 0));
    assert_eq!(plugin.correlate(batch(&[])).await.failed, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_alert_is_isolated_and_the_others_are_judged() {
    let plugin = started(quick()).await;
    plugin
        .configure(&TenantId::from("acme"), 1, &[rule("r")])
        .await
        .unwrap();
    // The letter c: only an instance that was given the rules again judges these.
    let mut events = vec!["c"; 512];
    events[300] = "p";
    let outcome = plugin.correlate(batch(&events)).await;
    let reason = "trapped: wasm trap: wasm `unreachable` instruction executed; it had logged: poisoned";
    assert_eq!(outcome.failed, [(300, reason.to_owned())]);
    assert_eq!(outcome.findings.verdicts.len(), 511);
    assert!(
        outcome
            .findings
            .verdicts
            .iter()
            .all(|v| v.rule == RuleId::from("r") && v.alert != 300)
    );
    assert!(outcome.findings.verdicts.is_sorted_by_key(|v| v.alert));
    assert_eq!(plugin.counters().failures, 11);
    assert_eq!(plugin.correlate(batch(&["c"])).await.failed, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_looping_alert_is_isolated_in_a_few_times_the_limit() {
    let plugin = started(quick()).await;
    let mut events = vec!["a"; 256];
    events[17] = "l";
    let begun = Instant::now();
    let outcome = plugin.correlate(batch(&events)).await;
    assert_eq!(failed(&outcome), [17]);
    assert!(
        outcome.failed[0].1.starts_with("timed out: computed for longer than"),
        "{}",
        outcome.failed[0].1
    );
    // 160 ms each for 256, 64, 16, 4 and 1 alerts.
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_eq!(outcome.findings.verdicts.len(), 255);
}

#[tokio::test(flavor = "multi_thread")]
async fn wall_time_ends_a_call_that_its_computing_time_would_allow() {
    let limits = Limits {
        call_cpu: Duration::from_secs(60),
        call_wall: Duration::from_millis(100),
        ..Limits::default()
    };
    let plugin = started(limits).await;
    let outcome = plugin.correlate(batch(&["l"])).await;
    assert_eq!(outcome.failed, [(0, "timed out: took longer than 100 ms".to_owned())]);
    assert!(failed(&plugin.correlate(batch(&["a"])).await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_work_from_a_plain_thread_through_a_handle() {
    let plugin = Arc::new(started(quick()).await);
    let handle = tokio::runtime::Handle::current();
    let worker = std::thread::spawn(move || handle.block_on(plugin.correlate(batch(&["a", "l"]))));
    assert_eq!(failed(&worker.join().unwrap()), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_memory_is_reported_as_that() {
    let plugin = started(quick()).await;
    let outcome = plugin.correlate(batch(&["a", "m", "b"])).await;
    assert_eq!(outcome.failed, [(1, format!("out of memory: limit {} bytes", 8 << 20))]);
    assert_eq!(
        verdicts(&outcome),
        [(0, "guest/policy", "fp-a"), (2, "guest/policy", "fp-b")]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answered_error_is_isolated_and_keeps_the_instance() {
    let plugin = started(quick()).await;
    plugin
        .configure(&TenantId::from("acme"), 1, &[rule("r")])
        .await
        .unwrap();
    let outcome = plugin.correlate(batch(&["a", "e", "c"])).await;
    assert_eq!(
        outcome.failed,
        [(1, "answered with an error: does not like it".to_owned())]
    );
    assert_eq!(verdicts(&outcome), [(0, "r", "fp-a"), (2, "r", "fp-c")]);
    // configure, the whole, [a], [e c], [e], [c]: no instance was configured again.
    assert_eq!(plugin.counters().calls, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_points_outside_the_batch_is_dropped_and_counted() {
    let plugin = started(quick()).await;
    let outcome = plugin.correlate(batch(&["a", "x"])).await;
    assert_eq!(verdicts(&outcome), [(0, "guest/policy", "fp-a")]);
    assert_eq!((outcome.dropped, plugin.counters().dropped), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_it_was_never_given_is_not_its_to_speak_of() {
    let plugin = started(quick()).await;
    let outcome = plugin.correlate(batch(&["a", "u"])).await;
    assert_eq!(verdicts(&outcome), [(0, "guest/policy", "fp-a")]);
    assert_eq!((outcome.foreign, outcome.failed.len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_that_do_not_fit_together_fail_the_alert_that_they_are_about() {
    let plugin = started(quick()).await;
    let outcome = plugin.correlate(batch(&["a", "w", "b"])).await;
    assert_eq!(
        verdicts(&outcome),
        [(0, "guest/policy", "fp-a"), (2, "guest/policy", "fp-b")]
    );
    let reason = "answered with lists that do not fit together";
    assert!(outcome.failed[0].1.starts_with(reason), "{:?}", outcome.failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_share_neither_instances_nor_what_is_held_against_them() {
    let plugin = guests::start(&runtime(quick()), &guests::optional_correlator(""))
        .await
        .unwrap();
    let retried = plugin.correlate(batch_of("other", &["r"], &[])).await;
    assert!(retried.may_pass);
    let left_alone = plugin.correlate(batch_of("other", &["a"], &[])).await;
    assert_eq!(left_alone.failed, [(0, "plugin is backing off".to_owned())]);
    assert_eq!(
        plugin.correlate(batch(&["a"])).await.failed,
        [],
        "it failed for another"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_too_large_is_a_failure_and_not_the_end_of_the_host() {
    let plugin = started(Limits {
        answer_bytes: 4_000,
        ..quick()
    })
    .await;
    let outcome = plugin.correlate(batch(&["a"; 200])).await;
    assert!(outcome.failed.is_empty(), "halves fit: {:?}", outcome.failed.first());
    let told = plugin.counters().last_error.unwrap().message;
    assert_eq!(told, "answered with more than the limit of 4000 bytes");
    assert_eq!(outcome.findings.verdicts.len(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn own_data_is_seen_at_once_and_lost_with_a_failed_call() {
    let plugin = started(quick()).await;
    let outcome = plugin.correlate(batch(&["k1", "g"])).await;
    assert_eq!(
        verdicts(&outcome),
        [(0, "guest/policy", "fp-k1"), (1, "guest/policy", "k1")]
    );
    let value = KvValue {
        bytes: b"k1".to_vec(),
        version: 1,
        expires: Some(Timestamp(6_000)),
    };
    assert_eq!(
        outcome.kv_writes,
        [KvWrite {
            key: "k".into(),
            value: Some(value.clone())
        }]
    );

    // Nothing was committed, so the next batch does not see it.
    let outcome = plugin.correlate(batch(&["g"])).await;
    assert_eq!(
        (verdicts(&outcome), outcome.kv_writes.len()),
        (vec![(0, "guest/policy", "fp-g")], 0)
    );
    // [k2 p] fails and leaves nothing; [k2] alone succeeds, and the later part of the batch sees it.
    let outcome = plugin.correlate(batch(&["k2", "p", "g", "a"])).await;
    assert_eq!(failed(&outcome), [1]);
    assert_eq!(verdicts(&outcome)[1], (2, "guest/policy", "k2"));
    assert_eq!(outcome.kv_writes.len(), 1);

    assert!(!outcome.wrote_too_much);

    let runtime = runtime(quick());
    let mut options = guests::options(&runtime, &correlator());
    options.kv = Arc::new(Memory([("k".to_owned(), value)].into()));
    let plugin = runtime.start(options).await.unwrap();
    assert_eq!(
        verdicts(&plugin.correlate(batch(&["g"])).await),
        [(0, "guest/policy", "k1")]
    );
}

/// The guest goes on without what it was refused, so nothing fails: all the more it must be told.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_wants_to_write_more_than_a_batch_may_says_so_and_is_not_held_against_the_plugin() {
    let limits = Limits {
        kv_write_bytes_per_batch: 4,
        strikes: 1,
        ..quick()
    };
    let plugin = started(limits).await;
    let fits = plugin.correlate(batch(&["k1", "a"])).await;
    assert_eq!((fits.wrote_too_much, fits.kv_writes.len()), (false, 1));
    let too_much = plugin.correlate(batch(&["k1234", "a"])).await;
    assert_eq!((too_much.wrote_too_much, too_much.kv_writes.len()), (true, 0));
    let later = plugin.correlate(batch(&["k1", "a"])).await;
    assert_eq!((later.wrote_too_much, later.kv_writes.len()), (false, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_always_fails_is_given_up_and_then_left_alone() {
    let limits = Limits {
        failed_calls_per_slice: 4,
        back_off_first: Duration::from_millis(300),
        ..quick()
    };
    let plugin = guests::start(&runtime(limits), &guests::optional_correlator(""))
        .await
        .unwrap();
    for _ in 0..3 {
        let outcome = plugin.correlate(batch(&["p"; 64])).await;
        assert_eq!(failed(&outcome), (0..64).collect::<Vec<_>>());
        assert!(outcome.failed[63].1.starts_with("gave up on the batch after: trapped"));
    }
    let calls = plugin.counters().calls;
    let outcome = plugin.correlate(batch(&["a"])).await;
    assert_eq!(outcome.failed, [(0, "plugin is backing off".to_owned())]);
    assert_eq!(plugin.counters().calls, calls);
    tokio::time::sleep(Duration::from_millis(320)).await;
    assert!(failed(&plugin.correlate(batch(&["a"])).await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_asks_to_be_left_alone_is_but_for_one_that_alerts_wait_for() {
    let plugin = started(quick()).await;
    let outcome = plugin.correlate(batch(&["r"])).await;
    assert!(outcome.may_pass, "circumstances are to blame");
    assert_eq!(outcome.failed[0].1, "answered with an error: try again after 60000 ms");
    let waited_for = plugin.correlate(batch(&["a"])).await;
    assert_eq!(
        verdicts(&waited_for).len(),
        1,
        "it shows that it works: {:?}",
        waited_for.failed
    );
    plugin.correlate(batch(&["r"])).await;
    plugin.set_required(false);
    let left_alone = plugin.correlate(batch(&["a"])).await;
    assert_eq!(left_alone.failed, [(0, "plugin is backing off".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enricher_proposes_changes_for_alerts_of_the_batch_only() {
    let plugin = guests::start(&runtime(quick()), &module(ENRICHER, "enricher"))
        .await
        .unwrap();
    let mut documents = BatchBuilder::new(TenantId::from("acme"), 2, std::iter::empty());
    for seq in [1, 2] {
        documents.document(b"{}");
        documents.end_alert(Seq(seq), Timestamp(1));
    }
    let documents = documents.finish();
    let outcome = plugin.enrich(documents).await;
    assert_eq!(
        (outcome.patches.len(), outcome.dropped, outcome.failed.len()),
        (2, 1, 0)
    );
    assert_eq!(
        outcome.patches[1].changes,
        [Change::Set {
            path: "seen".into(),
            json: "true".into()
        }]
    );
    // Called for what it is not, it says so for every alert.
    let outcome = plugin.correlate(batch(&["a"])).await;
    assert_eq!(
        outcome.failed,
        [(0, "the plugin is no correlator but: enricher".to_owned())]
    );
    let refused = plugin.configure(&TenantId::from("acme"), 1, &[]).await.unwrap_err();
    assert!(matches!(refused, CallError::Role { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_value_reaches_the_guest() {
    let plugin = started(quick()).await;
    let cells = [
        Cell::Bool(true),
        Cell::Int(-1),
        Cell::Float(f64::NAN),
        Cell::Text("x"),
        Cell::Json("[1]"),
    ];
    let mixed = batch_of("acme", &["a"], &cells);
    assert!(failed(&plugin.correlate(mixed).await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn plugins_that_would_have_too_much_memory_together_are_told_so() {
    let limits = Limits {
        memory_bytes: 16 << 20,
        total_memory_bytes: 9 << 20,
        // Not about how fast a busy machine makes the next instance.
        restart_wait: Duration::from_secs(20),
        ..Limits::default()
    };
    let runtime = runtime(limits);
    let first = guests::start(&runtime, &correlator()).await.unwrap();
    let second = guests::start(&runtime, &correlator()).await.unwrap();
    assert_eq!(runtime.memory_bytes(), 4 << 20);
    let outcome = second.correlate(batch(&["m", "a"])).await;
    assert_eq!(failed(&outcome), [0]);
    let reason = "out of memory: all plugins together have the limit of 9437184 bytes";
    assert!(outcome.failed[0].1.starts_with(reason), "{}", outcome.failed[0].1);
    assert!(runtime.memory_refusals() > 0);
    assert!(failed(&first.correlate(batch(&["a"])).await).is_empty());
    drop((first, second));
    let begun = Instant::now();
    while runtime.memory_bytes() > 0 {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "a copy that was being made ends as well"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let third = guests::start(&runtime, &correlator()).await;
    assert!(third.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_names_the_functions_it_was_in() {
    let named = guests::CORRELATOR.replace(
        "(func (export \"donjon:plugin/correlation@0.2.0#correlate\")",
        "(func $_ZN6plugin5judge17h0123456789abcdefE (export \"donjon:plugin/correlation@0.2.0#correlate\")",
    );
    let plugin = guests::start(&runtime(quick()), &module(&named, "correlator"))
        .await
        .unwrap();
    let outcome = plugin.correlate(batch(&["p"])).await;
    assert!(
        outcome.failed[0]
            .1
            .ends_with("it had logged: poisoned; in plugin::judge"),
        "{}",
        outcome.failed[0].1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_may_be_missed_is_not_waited_for_while_it_starts_again_and_keeps_a_warm_spare() {
    let limits = Limits {
        restart_wait: Duration::from_millis(1),
        failure_time_per_slice: Duration::from_secs(60),
        start_cpu: Duration::from_secs(10),
        ..quick()
    };
    let count = "(i32.store (i32.const 448) (i32.add (i32.load (i32.const 448)) (i32.const 1)))";
    let slow = format!("(loop $more {count} (br_if $more (i32.lt_u (i32.load (i32.const 448)) (i32.const 20000000))))");
    let plugin = guests::start(&runtime(limits), &guests::optional_correlator(&slow))
        .await
        .unwrap();
    let outcome = plugin.correlate(batch(&["p", "a", "b"])).await;
    assert_eq!(failed(&outcome), [0, 1, 2]);
    let reason = "is being started again after it broke; its newest failure: trapped";
    assert!(outcome.failed[1].1.starts_with(reason), "{}", outcome.failed[1].1);
    let begun = Instant::now();
    let mut pause = Duration::from_millis(200);
    loop {
        while !failed(&plugin.correlate(batch(&["a"])).await).is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(120), "it never came back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The next one is made as soon as this one serves: given the time, a break is the exchange of one for the other.
        tokio::time::sleep(pause).await;
        let outcome = plugin.correlate(batch(&["p"])).await;
        if outcome.failed[0].1.starts_with("trapped") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(120), "{}", outcome.failed[0].1);
        pause *= 2;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_looping_plugin_that_may_be_missed_is_left_alone_after_the_first_second_spent() {
    let limits = Limits {
        failure_time_per_slice: Duration::from_millis(300),
        back_off_first: Duration::from_millis(400),
        ..quick()
    };
    let plugin = guests::start(&runtime(limits), &guests::optional_correlator(""))
        .await
        .unwrap();
    let mut events = vec!["a"; 256];
    events[17] = "l";
    let outcome = plugin.correlate(batch(&events)).await;
    assert!(failed(&outcome).contains(&17));
    assert!(plugin.counters().failures <= 3, "{}", plugin.counters().failures);
    let outcome = plugin.correlate(batch(&["a"])).await;
    assert_eq!(outcome.failed, [(0, "plugin is backing off".to_owned())]);
    tokio::time::sleep(Duration::from_millis(450)).await;
    assert!(failed(&plugin.correlate(batch(&["a"])).await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn slices_grow_with_what_calls_have_cost_and_shrink_after_a_time_out() {
    let plugin = started(quick()).await;
    assert_eq!(plugin.slice_alerts(Role::Correlator), 32);
    for _ in 0..8 {
        let alerts = vec!["a"; plugin.slice_alerts(Role::Correlator)];
        assert!(failed(&plugin.correlate(batch(&alerts)).await).is_empty());
    }
    let grown = plugin.slice_alerts(Role::Correlator);
    assert!(grown > 32, "{grown}");
    let outcome = plugin.correlate(batch(&["l", "a"])).await;
    assert_eq!(failed(&outcome), [0]);
    assert!(
        plugin.slice_alerts(Role::Correlator) < 4,
        "{}",
        plugin.slice_alerts(Role::Correlator)
    );
}
