//! What a copy has of rules that the host does not take.

use donjon_core::TenantId;
use donjon_runtime::Limits;

use crate::guests::{self, batch, module, quick, rule, runtime};

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_only_the_host_refuses_is_taken_out_of_the_copy_again() {
    let report = "(i32.store offset=24 (local.get $report) (i32.const 416))";
    let branch = "(i32.store offset=8 (local.get $report) (i32.const 208)) (i32.store offset=12 (local.get $report) (i32.const 1))";
    let text = guests::CORRELATOR.replace(report, &format!("{report} {branch}"));
    let limits = Limits {
        indexes_per_verdict: 0,
        ..quick()
    };
    let plugin = guests::start(&runtime(limits), &module(&text, "correlator"))
        .await
        .unwrap();
    let configured = plugin
        .configure(&TenantId::from("acme"), 1, &[rule("r")])
        .await
        .unwrap();
    assert!(configured.reports[0].outcome.is_err());
    let outcome = plugin.correlate(batch(&["a"])).await;
    let named = outcome.findings.verdicts[0].rule.as_str();
    assert_eq!(named, "guest/policy", "none may have a branch");
}
