//! The memory of all copies together: what grew is given back, and tenants do not starve each other.

use std::time::{Duration, Instant};

use donjon_core::TenantId;
use donjon_core::batch::Batch;
use donjon_runtime::{Limits, Runtime};

use crate::guests::{self, CORRELATOR, batch, module, quick, rule, runtime};

/// A correlator with a copy for each tenant; one has 2 MiB, and 3 MiB more after an alert whose event id begins with h.
fn growing() -> Vec<u8> {
    let stateless = CORRELATOR.replace(r#""\00\01\00\00""#, r#""\01\01\00\00""#);
    assert_ne!(stateless, CORRELATOR);
    let before = "(if (i32.eq (local.get $letter) (i32.const 109 (;m;)))";
    let grow = "(if (i32.eq (local.get $letter) (i32.const 104 (;h;)))
        (then (if (i32.eq (memory.grow (i32.const 48)) (i32.const -1)) (then unreachable))))";
    module(&stateless.replace(before, &format!("{grow}\n{before}")), "correlator")
}

fn of_tenant(tenant: &TenantId, events: &[&str]) -> Batch {
    Batch {
        tenant: tenant.clone(),
        ..batch(events)
    }
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
    let tenant = TenantId::from("t");
    plugin.configure(&tenant, 1, &[rule("r")]).await.unwrap();
    for _ in 0..3 {
        let outcome = plugin.correlate(of_tenant(&tenant, &["h", "c"])).await;
        assert_eq!(outcome.failed, []);
        wait_until_within(&runtime, 2 << 20).await;
    }
    let outcome = plugin.correlate(of_tenant(&tenant, &["c"])).await;
    assert_eq!(outcome.failed, [], "the new copy has the rules");
    assert_eq!(plugin.counters().failures, 0);
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
    assert_eq!(runtime.memory_refusals(), 0);
    assert!(runtime.memory_bytes() <= 9 << 20);
}
