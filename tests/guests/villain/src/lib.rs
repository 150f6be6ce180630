//! Does what its configuration names (`deed`) to every alert named `poison`: shows that a correlator which recurses, names
//! what is not its own, floods or fills whatever it reaches costs other alerts and other plugins nothing.

use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin, RuleFailure, Verdict, config, kv, log};

const POLICY: &str = "villainy";

struct Villain {
    deed: String,
    /// A rule that is none of its business.
    foreign: String,
}

impl Plugin for Villain {
    fn describe() -> Description {
        Description::new(
            "villain",
            env!("CARGO_PKG_VERSION"),
            "Misbehaves on alerts named poison.",
        )
        .wants_fields(["name"])
        .policy(POLICY, r#"{"ruleName": "Villainy", "timeframeInSeconds": 600}"#)
    }

    fn init(_config: &str) -> Result<Self, Error> {
        let text = |path: &str| config::get(path).unwrap_or_default().trim_matches('"').to_owned();
        let (deed, foreign) = (text("deed"), text("foreign"));
        if deed == "slow-start" {
            spin(200_000_000);
        }
        Ok(Villain { deed, foreign })
    }
}

impl Correlator for Villain {
    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        let mut findings = Findings::default();
        for (alert, row) in batch.indexed_rows() {
            if row.first().and_then(|name| name.as_text()) == Some("poison") {
                self.act(alert, &mut findings)?;
            }
        }
        Ok(findings)
    }
}

impl Villain {
    fn act(&self, alert: u32, findings: &mut Findings) -> Result<(), Error> {
        let verdict = |rule: &str, group: String| Verdict::new(alert, rule, [group]);
        match self.deed.as_str() {
            "recursion" => drop(dig(&[1; 64])),
            "slow-start" => panic!("and now once more"),
            "floods-verdicts" => {
                let groups = (0..100_000).map(|group: u32| verdict(POLICY, group.to_string()));
                findings.verdicts.extend(groups);
            }
            "long-group" => findings.verdicts.push(verdict(POLICY, "x".repeat(1 << 20))),
            "reads-twice" => findings
                .verdicts
                .push(verdict(POLICY, "one".into()).reading(vec![0; 4_096])),
            "unknown-rules" => {
                for at in 0..1_000 {
                    let rule = format!("no-such-rule-{at}");
                    findings.verdicts.push(verdict(&rule, "one".into()));
                    let message = "no".to_owned();
                    findings.failures.push(RuleFailure { alert, rule, message });
                }
            }
            "foreign-rules" => findings.verdicts.push(verdict(&self.foreign, "stolen".into())),
            "forges-log-lines" => {
                for _ in 0..1_000 {
                    log::error("nothing\n2026-11-21T00:00:00Z ERROR donjon: \u{1b}[31mforged line");
                }
            }
            "fills-its-store" => {
                for key in 0..10_000 {
                    kv::set(&format!("{alert}-{key}"), &[7; 60_000], None)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Calls itself until the stack is used up.
#[expect(unconditional_recursion, reason = "that is its deed")]
fn dig(depth: &[u64; 64]) -> u64 {
    let deeper = std::hint::black_box(depth.map(|level| level.wrapping_add(1)));
    dig(&deeper).wrapping_add(deeper.iter().sum())
}

/// A loop that the compiler cannot remove.
fn spin(turns: u64) {
    let mut turn: u64 = 0;
    while turn < turns {
        turn = std::hint::black_box(turn.wrapping_add(1));
    }
}

donjon_plugin::export!(Villain as correlator);
