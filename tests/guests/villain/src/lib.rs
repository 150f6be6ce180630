//! Does what its configuration names (`deed`) to every alert named `poison`: shows that a correlator which recurses, names
//! what is not its own, floods or fills whatever it reaches costs other alerts and other plugins nothing.

use donjon_plugin::{
    Alert, Batch, Correlator, Description, Error, Findings, Plugin, Policy, Verdict, Wanted, config, kv, log, policy,
    wire,
};

/// Hosts count rules from here on; it is given none of them.
const FIRST_RULE: u32 = 0;

struct Villain {
    deed: String,
}

impl Plugin for Villain {
    fn describe() -> Description {
        Description::new(
            "villain",
            env!("CARGO_PKG_VERSION"),
            "Misbehaves on alerts named poison.",
        )
    }

    fn init(_tenant: &str, _config: &str) -> Result<Self, Error> {
        let deed = config::get("deed").unwrap_or_default().trim_matches('"').to_owned();
        if deed == "slow-start" {
            spin(200_000_000);
        }
        Ok(Villain { deed })
    }
}

impl Correlator for Villain {
    fn wants(&self) -> Wanted {
        Wanted::columns(["name"])
    }

    fn policies(&self) -> Result<Vec<Policy>, Error> {
        let settings = r#"{"ruleName": "Villainy", "timeframeInSeconds": 600}"#;
        Ok(vec![Policy::new("villainy", settings)])
    }

    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        let mut findings = Findings::new();
        for alert in batch.alerts().filter(|alert| alert.text("name") == Some("poison")) {
            self.act(alert, &mut findings)?;
        }
        Ok(findings)
    }
}

impl Villain {
    fn act(&self, alert: Alert<'_>, findings: &mut Findings) -> Result<(), Error> {
        match self.deed.as_str() {
            "recursion" => drop(dig(&[1; 64])),
            "slow-start" => panic!("and now once more"),
            "floods-verdicts" => {
                for group in 0..100_000 {
                    findings.verdict(&alert, policy(0)).group([group.to_string()]);
                }
            }
            "long-group" => {
                findings.verdict(&alert, policy(0)).group(["x".repeat(1 << 20)]);
            }
            "reads-twice" => findings.push(Verdict {
                alert: alert.index(),
                rule: policy(0),
                group: vec!["one".into()],
                read: vec![0; 4_096],
                ..Verdict::default()
            }),
            "unknown-rules" => {
                for at in 0..1_000 {
                    findings.verdict(&alert, policy(1 + at)).group(["one"]);
                    findings.failure(&alert, policy(1 + at), "no");
                }
            }
            "foreign-alerts" => findings.push(Verdict {
                alert: 1_000_000,
                rule: policy(0),
                group: vec!["one".into()],
                ..Verdict::default()
            }),
            "crooked-lists" | "unknown-texts" | "grown-answer" => {
                *findings = Findings::from_wire(crooked(&self.deed, alert.index()));
            }
            "foreign-rules" => {
                findings.verdict(&alert, FIRST_RULE).group(["stolen"]);
            }
            "forges-log-lines" => {
                for _ in 0..1_000 {
                    log::error("nothing\n2026-11-21T00:00:00Z ERROR donjon: \u{1b}[31mforged line");
                }
            }
            "fills-its-store" => {
                for key in 0..10_000 {
                    kv::set(&format!("{}-{key}", alert.seq()), &[7; 60_000], None)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Answers that no SDK would build.
fn crooked(deed: &str, alert: u32) -> wire::Findings {
    let sound = wire::Findings {
        alerts: vec![alert],
        rules: vec![policy(0)],
        key_ends: vec![1],
        keys: vec![0],
        branch_ends: vec![0],
        read_ends: vec![0],
        ..wire::Findings::default()
    };
    match deed {
        // Lists of different lengths, ends that go down and beyond.
        "crooked-lists" => wire::Findings {
            rules: vec![policy(0); 3],
            key_ends: vec![2, 1, u32::MAX],
            branch_ends: vec![u32::MAX],
            own_text_ends: vec![7, 3],
            ..sound
        },
        "unknown-texts" => wire::Findings {
            keys: vec![u32::MAX],
            ..sound
        },
        _ => wire::Findings {
            more: vec![("unheard-of".into(), "{}".into())],
            ..sound
        },
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
