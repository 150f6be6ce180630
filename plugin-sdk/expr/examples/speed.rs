//! Measures one evaluation of the ten rules of the seed's benchmark: `cargo run --release --example speed`.
//!
//! Must not know: anything beyond the public interface. It prints, it asserts nothing.

use donjon_expr::{Attributes, Datum, Expression};
use std::hint::black_box;
use std::time::Instant;

struct Row(Vec<Option<&'static str>>);

impl Attributes for Row {
    fn get(&self, column: usize, _path: &str) -> Datum<'_> {
        self.0.get(column).copied().flatten().map_or(Datum::Null, Datum::Text)
    }
}

const DESCRIPTION: &str =
    "the disk of the database server is filling up and will be full in about four hours at the present rate of growth";

fn measure(name: &str, sources: &[String], source: &'static str) {
    let rules: Vec<(Expression, Row)> = sources
        .iter()
        .filter_map(|text| {
            let expression = Expression::compile(text).ok()?;
            let cells = expression.columns().iter().map(|column| match column.as_str() {
                "source.0" => Some(source),
                "severity" => Some("high"),
                "description" => Some(DESCRIPTION),
                "labels.host" => Some("db-7"),
                _ => None,
            });
            let row = Row(cells.collect());
            Some((expression, row))
        })
        .collect();
    let rounds = 200_000_u32;
    let mut matched = Vec::new();
    let start = Instant::now();
    for _ in 0..rounds {
        for (expression, row) in &rules {
            matched.clear();
            expression.matched_branches(
                black_box(row),
                &mut donjon_expr::Budget::default(),
                &mut matched,
                |_, _| {},
            );
            black_box(&matched);
        }
    }
    let each = start.elapsed().as_secs_f64() * 1e9 / f64::from(rounds);
    println!(
        "{name}: {:.1} ns a rule, {} rules",
        each / f64::from(u32::try_from(rules.len()).unwrap_or(1)),
        rules.len()
    );
}

fn main() {
    let rules = |text: &dyn Fn(u32) -> String| (1..=10).map(text).collect::<Vec<_>>();
    let seed = rules(&|n| {
        format!(
            "(source == \"prometheus\" && severity == \"sev-{n:03}\") || (source == \"grafana\" && description.contains(\"nope-{n:03}\"))"
        )
    });
    measure("seed rules, source prometheus", &seed, "prometheus");
    measure("seed rules, source grafana", &seed, "grafana");
    measure("seed rules, source other", &seed, "zabbix");
    measure(
        "severity by rank and in",
        &rules(&|n| format!("severity >= \"high\" && labels.host in [\"db-{n}\", \"db-x\"]")),
        "zabbix",
    );
    measure(
        "matches",
        &rules(&|n| format!("description.matches(\"nope-{n}.*x\")")),
        "zabbix",
    );
    let start = Instant::now();
    let compiled = seed
        .iter()
        .cycle()
        .take(1_000)
        .filter(|text| Expression::compile(text).is_ok())
        .count();
    println!(
        "compile: {:.1} us a rule",
        start.elapsed().as_secs_f64() * 1e6 / f64::from(u32::try_from(compiled).unwrap_or(1))
    );
}
