//! What a disk or a person did to the journal is told where people look: in the log, in `/metrics`, in `/readyz`; and a
//! start that would lose what was acknowledged is refused until somebody decides.

use std::path::{Path, PathBuf};
use std::time::Duration;

use donjon_tests::client::Client;
use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);
const DAY_MS: u64 = 86_400_000;

/// A server with a rule, and twenty alerts on each of three days.
struct Lived {
    _dir: tempfile::TempDir,
    options: ServerOptions,
    data: PathBuf,
}

fn lived() -> Lived {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let options = ServerOptions {
        data_dir: Some(data.clone()),
        plugins: vec![files::plugin("rules")],
        args: vec!["--manual-clock".into()],
        ..ServerOptions::default()
    };
    let server = Server::start_with(options.clone()).unwrap();
    let mut client = server.client();
    let rule = json!({"ruleName": "all", "celQuery": "true", "timeframeInSeconds": 600, "timeUnit": "seconds",
                      "groupingCriteria": ["name"]});
    assert_eq!(client.post("/rules", &rule).unwrap().status, 200);
    for day in 0..3 {
        for n in 0..20 {
            let alert = json!({"name": format!("day {day} alert {n}"), "severity": "high"});
            assert_eq!(client.post("/alerts/event?wait=true", &alert).unwrap().status, 200);
        }
        client.post("/-/test/clock", &json!({"advance_ms": DAY_MS})).unwrap();
    }
    let (status, log) = server.stop().unwrap();
    assert!(status.success(), "{log}");
    Lived {
        _dir: dir,
        options,
        data,
    }
}

impl Lived {
    fn segments(&self) -> Vec<PathBuf> {
        files_in(&self.data.join("journal"), "journal")
    }

    fn lose_state(&self) {
        std::fs::remove_dir_all(self.data.join("state")).unwrap();
        std::fs::remove_dir_all(self.data.join("checkpoints")).unwrap();
    }

    /// What a clean stop said of the end of the journal is lost.
    fn lose_marks(&self) {
        let marks = files_in(&self.data.join("journal"), "synced");
        assert_eq!(marks.len(), 1, "{marks:?}");
        std::fs::remove_file(&marks[0]).unwrap();
    }

    fn start_accepting(&self) -> anyhow::Result<Server> {
        let mut options = self.options.clone();
        options.args.push("--accept-missing-history".into());
        Server::start_with(options)
    }
}

fn files_in(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|item| item.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    found.sort();
    found
}

fn flip(path: &Path, from_end: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.len() - from_end;
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).unwrap();
}

fn metric(client: &mut Client, name: &str) -> f64 {
    let text = client.get("/metrics").unwrap().text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}

fn check_told(server: &Server, path: &Path, what: &str) {
    wait_for("the damage to be told", PATIENCE, || {
        let ready = server.client().get("/readyz")?.json()["journal_damage"] == 1;
        Ok(ready && metric(&mut server.client(), "donjon_journal_damage") == 1.0)
    })
    .unwrap_or_else(|error| panic!("{what}: {error:#}: {}", server.log()));
    let log = server.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("journal is damaged")).collect();
    assert_eq!(lines.len(), 1, "{what}: told once: {log}");
    let clear = lines[0].contains("ERROR") && lines[0].contains("lost entries");
    assert!(
        clear && lines[0].contains(path.file_name().unwrap().to_str().unwrap()),
        "{what}: {}",
        lines[0]
    );
}

/// Everything is applied already: the server serves on, nothing waits for a person, and nothing is silent.
#[test]
fn damage_in_the_journal_is_told_by_log_metric_and_readiness() {
    type Case = (&'static str, usize, fn(&Path));
    let cases: [Case; 5] = [
        ("a flipped bit in a sealed segment", 0, |path| flip(path, 40)),
        ("a sealed segment emptied", 1, |path| std::fs::write(path, b"").unwrap()),
        ("a sealed segment cut", 1, |path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("the last block", 2, |path| flip(path, 3)),
        ("the newest segment cut", 2, |path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
    ];
    let lived = lived();
    let segments = lived.segments();
    assert_eq!(segments.len(), 3);
    for (what, segment, damage) in cases {
        let whole = std::fs::read(&segments[segment]).unwrap();
        damage(&segments[segment]);
        let server = Server::start_with(lived.options.clone()).unwrap();
        check_told(&server, &segments[segment], what);
        let mut client = server.client();
        assert_eq!(
            client.get("/alerts").unwrap().json().as_array().unwrap().len(),
            60,
            "{what}"
        );
        server.kill().unwrap();
        if segment == 2 {
            let kept = files_in(&lived.data.join("journal"), "damaged");
            assert_eq!(kept.len(), 1, "{what}: what was cut off is kept");
            std::fs::remove_file(&kept[0]).unwrap();
        }
        std::fs::write(&segments[segment], whole).unwrap();
    }
}

#[test]
fn a_deleted_segment_is_told_and_so_is_a_deleted_journal() {
    let lived = lived();
    let segments = lived.segments();
    std::fs::remove_file(&segments[1]).unwrap();
    let server = Server::start_with(lived.options.clone()).unwrap();
    check_told(&server, &segments[0], "a segment deleted");
    server.kill().unwrap();

    std::fs::remove_dir_all(lived.data.join("journal")).unwrap();
    let server = Server::start_with(lived.options.clone()).unwrap();
    assert!(
        server.log().contains("journal is damaged: the journal ends"),
        "{}",
        server.log()
    );
    assert!(server.log().contains("lost entries 1 to 61"), "{}", server.log());
    let mut client = server.client();
    assert_eq!(client.get("/incidents").unwrap().json()["count"], 60);
    let taken = client.post("/alerts/event?wait=true", &json!({"name": "n"})).unwrap();
    assert_eq!(
        taken.json()["task_name"].as_str().map(str::to_owned),
        Some("62".into()),
        "{}",
        taken.text()
    );
}

/// The rule itself was in the block that rotted: going on would answer every alert with "no incident".
#[test]
fn a_rebuild_that_would_lose_acknowledged_entries_is_refused_until_somebody_decides() {
    let lived = lived();
    let first = &lived.segments()[0];
    let whole = std::fs::read(first).unwrap();
    // The first block is the rule.
    let mut bytes = whole.clone();
    bytes[100] ^= 0x10;
    std::fs::write(first, &bytes).unwrap();
    lived.lose_state();
    for _ in 0..2 {
        let error = Server::start_with(lived.options.clone())
            .err()
            .map(|error| format!("{error:#}"));
        let error = error.expect("the rule is nowhere");
        let clear = error.contains("exit status: 2")
            && error.contains("--accept-missing-history")
            && error.contains("lost entries 1 to 1")
            && error.contains(first.file_name().unwrap().to_str().unwrap());
        assert!(clear, "{error}");
    }
    // Restoring the file is all it takes.
    std::fs::write(first, &whole).unwrap();
    let server = Server::start_with(lived.options.clone()).unwrap();
    assert_eq!(server.client().get("/incidents").unwrap().json()["count"], 60);
    server.kill().unwrap();
    lived.lose_state();
    std::fs::write(first, &bytes).unwrap();
    let server = lived.start_accepting().unwrap();
    assert!(server.log().contains("going on without, as asked"), "{}", server.log());
    let mut client = server.client();
    assert_eq!(client.get("/alerts").unwrap().json().as_array().unwrap().len(), 60);
    assert_eq!(client.get("/rules").unwrap().json(), json!([]));
    server.kill().unwrap();
    // Decided once.
    Server::start_with(lived.options.clone()).unwrap();
}

/// The newest block is what rotted, with nothing after it to move the cursor past it.
#[test]
fn a_decision_to_go_on_is_asked_for_once() {
    let lived = lived();
    let segments = lived.segments();
    flip(segments.get(1).unwrap(), 3);
    std::fs::remove_file(&segments[2]).unwrap();
    lived.lose_state();
    lived.lose_marks();
    // Nobody has seen the third day, and the second is the newest now: its last block looks like a torn write.
    let server = Server::start_with(lived.options.clone()).unwrap();
    assert!(
        server.log().contains("cut off the end of the journal"),
        "{}",
        server.log()
    );
    server.kill().unwrap();
    lived.lose_state();
    flip(&segments[0], 3);
    assert!(Server::start_with(lived.options.clone()).is_err());
    lived.start_accepting().unwrap().kill().unwrap();
    Server::start_with(lived.options.clone()).unwrap();
}

/// Neither derived state nor a checkpoint knows, but the stop said up to where the journal was.
#[test]
fn an_end_that_is_missing_after_a_clean_stop_refuses_the_start() {
    let lived = lived();
    std::fs::remove_file(&lived.segments()[2]).unwrap();
    lived.lose_state();
    let error = Server::start_with(lived.options.clone())
        .err()
        .map(|error| format!("{error:#}"));
    let error = error.expect("the third day is missing");
    assert!(error.contains("exit status: 2") && error.contains("to 61"), "{error}");
    lived.start_accepting().unwrap().kill().unwrap();
    Server::start_with(lived.options.clone()).unwrap();
}

#[test]
fn a_deleted_format_file_is_not_silently_written_anew() {
    let lived = lived();
    std::fs::remove_file(lived.data.join("FORMAT")).unwrap();
    let error = Server::start_with(lived.options.clone())
        .err()
        .map(|error| format!("{error:#}"));
    let error = error.expect("nobody knows the layout");
    let clear = error.contains("exit status: 2") && error.contains("FORMAT") && error.contains("donjon 1");
    assert!(clear, "{error}");
    std::fs::write(lived.data.join("FORMAT"), "donjon 1\n").unwrap();
    let server = Server::start_with(lived.options.clone()).unwrap();
    let alerts: Value = server.client().get("/alerts").unwrap().json();
    assert_eq!(alerts.as_array().unwrap().len(), 60);
}
