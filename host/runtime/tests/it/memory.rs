//! The memory of all copies together: what grew is given back, and tenants do not starve each other.

use std::time::{Duration, Instant};

use donjon_core::TenantId;
use donjon_core::batch::Batch;
use donjon_runtime::{Limits, Runtime};

use crate::guests::{self, CORRELATOR, batch, batch_of, module, quick, rule, runtime};

/// A correlator that grows by 3 MiB, from 2 MiB, with an alert whose event id begins with h.
fn growing_text() -> String {
    let before = "(if (i32.eq (local.get $letter) (i32.const 109 (;m;)))";
    let grow = "(if (i32.eq (local.get $letter) (i32.const 104 (;h;)))
        (then (if (i32.eq (memory.grow (i32.const 48)) (i32.const -1)) (then unreachable))))";
    guests::without_policies(CORRELATOR).replace(before, &format!("{grow}\n{before}"))
}

fn growing() -> Vec<u8> {
    module(&growing_text(), "correlator")
}

/// One that takes no rules.
fn growing_without_rules(init: &str) -> Vec<u8> {
    let text = guests::without_rules(&growing_text()).replace(";; BEGIN INIT", init);
    module(&text, "correlator")
}

/// Takes so many rounds of computing.
fn rounds(count: u64) -> String {
    format!(
        "(local $round i64) (loop $again
           (local.set $round (i64.add (local.get $round) (i64.const 1)))
           (br_if $again (i64.lt_u (local.get $round) (i64.const {count}))))"
    )
}

fn of_tenant(tenant: &TenantId, events: &[&str]) -> Batch {
    batch_of(tenant.as_str(), events, &[])
}

async fn wait_until_within(runtime: &Runtime, bytes: usize) {
    let begun = Instant::now();
    while runtime.memory_bytes() > bytes {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", runtime.memory_bytes());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_grew_with_one_alert_gives_the_memory_back() {
    let runtime = runtime(quick());
    let plugin = guests::start(&runtime, &growing()).await.unwrap();
    let tenant = TenantId::from("acme");
    plugin.configure(&tenant, 1, &[rule("r")]).await.unwrap();
    for round in 1..=2 {
        let outcome = plugin.correlate(of_tenant(&tenant, &["h", "c"])).await;
        assert_eq!(outcome.failed, []);
        wait_until_within(&runtime, 2 << 20).await;
        assert_eq!(plugin.counters().replaced, round);
        for _ in 0..40 {
            let outcome = plugin.correlate(of_tenant(&tenant, &["c"])).await;
            assert_eq!(outcome.failed, [], "the new copy has the rules");
        }
    }
    assert_eq!(plugin.counters().failures, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_calls_made_as_large_again_is_left_alone() {
    let runtime = runtime(quick());
    let plugin = guests::start(&runtime, &growing()).await.unwrap();
    let tenant = TenantId::from("acme");
    plugin.configure(&tenant, 1, &[rule("r")]).await.unwrap();
    plugin.correlate(of_tenant(&tenant, &["h"])).await;
    wait_until_within(&runtime, 2 << 20).await;
    plugin.correlate(of_tenant(&tenant, &["h"])).await;
    for _ in 0..100 {
        assert_eq!(plugin.correlate(of_tenant(&tenant, &["c"])).await.failed, []);
    }
    assert_eq!((plugin.counters().replaced, runtime.memory_bytes()), (1, 5 << 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_grew_serves_until_the_next_one_is_there() {
    let text = growing_text();
    let configure = "(local $i i32) (local $reports i32) (local $report i32)\n";
    assert!(text.contains(configure));
    let slow = text.replacen(configure, &format!("{configure}{}", rounds(1_000_000_000)), 1);
    // Locals come first.
    let slow = slow.replacen(
        "(local $report i32)\n(local $round i64)",
        "(local $report i32) (local $round i64)",
        1,
    );
    let runtime = runtime(quick());
    let plugin = guests::start(&runtime, &module(&slow, "correlator")).await.unwrap();
    let tenant = TenantId::from("acme");
    plugin.configure(&tenant, 1, &[rule("r")]).await.unwrap();
    plugin.correlate(of_tenant(&tenant, &["h"])).await;
    let outcome = plugin.correlate(of_tenant(&tenant, &["c"])).await;
    assert_eq!(
        (outcome.failed.len(), plugin.counters().replaced),
        (0, 0),
        "nobody waited"
    );
    wait_until_within(&runtime, 2 << 20).await;
    let outcome = plugin.correlate(of_tenant(&tenant, &["c"])).await;
    assert_eq!((outcome.failed.len(), plugin.counters().replaced), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_without_rules_gives_memory_back_too() {
    let limits = Limits {
        total_memory_bytes: 9 << 20,
        ..quick()
    };
    let runtime = runtime(limits);
    let plugin = guests::start(&runtime, &growing_without_rules("")).await.unwrap();
    assert_eq!(plugin.correlate(batch(&["h"])).await.failed, []);
    wait_until_within(&runtime, 2 << 20).await;
    assert_eq!(plugin.counters().replaced, 1);
    assert_eq!(plugin.correlate(batch(&["h"])).await.failed, []);
    assert_eq!(runtime.memory_bytes(), 5 << 20, "what it needs");
    let other = guests::start(&runtime, &growing_without_rules("")).await.unwrap();
    assert_eq!(other.correlate(batch(&["h"])).await.failed, [], "the first one is idle");
    assert_eq!((runtime.memory_refusals(), runtime.copies_let_go()), (0, 1));
    assert_eq!(plugin.correlate(batch(&["a"])).await.failed, [], "and comes back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_broke_once_is_waited_for_when_its_copy_was_let_go() {
    let limits = Limits {
        total_memory_bytes: 9 << 20,
        // Nobody waits for one that broke.
        restart_wait: Duration::from_nanos(1),
        start_cpu: Duration::from_secs(10),
        ..quick()
    };
    let runtime = runtime(limits);
    let slow = growing_without_rules(&rounds(30_000_000));
    let plugin = guests::start(&runtime, &slow).await.unwrap();
    assert_eq!(plugin.correlate(batch(&["p"])).await.failed.len(), 1);
    let begun = Instant::now();
    while !plugin.correlate(batch(&["a"])).await.failed.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is started again");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Until the copy after this one is there as well.
    tokio::time::sleep(Duration::from_millis(10)).await;
    while runtime.memory_bytes() < 4 << 20 {
        assert!(begun.elapsed() < Duration::from_secs(60), "a spare one is made");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let other = guests::start(&runtime, &growing()).await.unwrap();
    let tenant = TenantId::from("acme");
    other.configure(&tenant, 1, &[rule("r")]).await.unwrap();
    assert_eq!(other.correlate(of_tenant(&tenant, &["h", "h"])).await.failed, []);
    assert_eq!(runtime.copies_let_go(), 1);
    assert_eq!(plugin.correlate(batch(&["a"])).await.failed, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_that_wait_for_rules_that_never_come_make_room_and_are_made_again() {
    let limits = Limits {
        total_memory_bytes: 9 << 20,
        ..quick()
    };
    let runtime = runtime(limits);
    let plugin = guests::start(&runtime, &growing()).await.unwrap();
    let tenants: Vec<TenantId> = (0..8).map(|at| TenantId::from(format!("t{at}"))).collect();
    for tenant in &tenants {
        plugin.prepare(tenant, &[rule("r")]).await.unwrap();
    }
    for tenant in &tenants {
        plugin.configure(tenant, 1, &[rule("r")]).await.unwrap();
        assert_eq!(
            plugin.correlate(of_tenant(tenant, &["h", "c"])).await.failed,
            [],
            "{tenant}"
        );
    }
    assert_eq!(runtime.memory_refusals(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_copies_than_there_may_be_serve_also_after_they_were_made_again() {
    let limits = Limits {
        total_memory_bytes: 4 << 30,
        ..quick()
    };
    let runtime = runtime(limits);
    let plugin = guests::start(&runtime, &growing()).await.unwrap();
    let tenants: Vec<TenantId> = (0..270).map(|at| TenantId::from(format!("t{at}"))).collect();
    for tenant in &tenants {
        plugin.configure(tenant, 1, &[rule("r")]).await.unwrap();
    }
    for tenant in tenants.iter().chain(&tenants) {
        assert_eq!(plugin.correlate(of_tenant(tenant, &["c"])).await.failed, [], "{tenant}");
        assert!(runtime.memory_bytes() <= 256 * (2 << 20), "{}", runtime.memory_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_that_are_idle_make_room_for_those_that_have_alerts() {
    let limits = Limits {
        total_memory_bytes: 9 << 20,
        restart_wait: Duration::from_secs(20),
        ..quick()
    };
    let runtime = runtime(limits);
    let plugin = guests::start(&runtime, &growing()).await.unwrap();
    let tenants: Vec<TenantId> = (0..8).map(|at| TenantId::from(format!("t{at}"))).collect();
    for tenant in &tenants {
        plugin.configure(tenant, 1, &[rule("r")]).await.unwrap();
        let outcome = plugin.correlate(of_tenant(tenant, &["c"])).await;
        assert_eq!(outcome.failed, [], "{tenant}");
    }
    // Also what an alert needs, and what was let go comes back.
    for tenant in tenants.iter().rev() {
        let outcome = plugin.correlate(of_tenant(tenant, &["h", "c"])).await;
        assert_eq!(outcome.failed, [], "{tenant}");
    }
    // A copy that is made in the background beside them may be refused: it is made for later, and no alert waits for it.
    assert!(runtime.memory_bytes() <= 9 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_are_tried_leave_a_copy_alone_that_serves_without_rules() {
    let tenant = TenantId::from("acme");
    for (text, copies) in [(CORRELATOR.to_owned(), 2), (guests::without_policies(CORRELATOR), 1)] {
        let runtime = runtime(quick());
        let plugin = guests::start(&runtime, &module(&text, "correlator")).await.unwrap();
        plugin.prepare(&tenant, &[rule("r")]).await.unwrap();
        assert_eq!(
            runtime.memory_bytes(),
            copies * (2 << 20),
            "a policy is asked about before there are rules"
        );
    }
}
