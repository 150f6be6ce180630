//! What the directory promises to an operator: nothing beside a plugin that serves takes its place, no file holds up the
//! others, what failed for now is tried again, and the last good file is there at the next start.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::super::keeper::MAX_PLUGINS;
use super::super::options::{PluginChange, PluginConfig, PluginOptions};
use super::super::status::{PluginState, Source};
use super::fixture::{Fixture, SETTLE, granted, options};

#[tokio::test]
async fn a_plugin_that_serves_is_never_pushed_out_by_files_beside_it() {
    let fixture = Fixture::new(&[("rules.wasm", "one")]).await;
    for number in 0..500 {
        fixture.write(&format!("a{number:03}.wasm"), "bad garbage");
    }
    fixture.until("all decided", |f| f.log().len() == 501).await;
    fixture.watching.reloads.reload().await.unwrap();
    assert_eq!(fixture.version("rules").as_deref(), Some("one"));
    let statuses = fixture.watching.board.statuses();
    let rejected = statuses.iter().filter(|status| status.state == PluginState::Rejected);
    assert_eq!((statuses.len(), rejected.count()), (501, 500));
    // The reload tried them again and found the same: told once.
    let told = fixture.events.lock().unwrap().len();
    assert_eq!(told, 501);
    fixture.watching.shutdown().await;
}

#[tokio::test]
async fn garbage_that_was_there_first_takes_no_place() {
    let mut files: Vec<(String, &str)> = (0..500).map(|n| (format!("a{n:03}.wasm"), "bad garbage")).collect();
    files.push(("rules.wasm".to_owned(), "one"));
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), *text)).collect();
    let fixture = Fixture::new(&files).await;
    assert_eq!(fixture.version("rules").as_deref(), Some("one"));
    fixture.watching.shutdown().await;
}

#[tokio::test]
async fn above_the_limit_only_new_names_are_refused_and_visibly() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..MAX_PLUGINS - 1 {
        std::fs::write(dir.path().join(format!("m{number:02}.wasm")), "good").unwrap();
    }
    // Configured, and not there yet: its place is kept for it once its file is there.
    let options = PluginOptions {
        per_plugin: [("z".to_owned(), granted())].into(),
        ..options(dir.path())
    };
    let fixture = Fixture::begin(dir, options).await;
    for name in ["a0", "z", "a1"] {
        fixture.write(&format!("{name}.wasm"), "good");
    }
    fixture.until("z serves", |f| f.version("z").is_some()).await;
    let is_refused = |f: &Fixture, name: &str| f.error(name).contains("which is the limit; remove one; trying again");
    fixture
        .until("refused", |f| is_refused(f, "a0") && is_refused(f, "a1"))
        .await;
    let serving = fixture.fake.serving.lock().unwrap().len();
    assert_eq!(serving, MAX_PLUGINS);
    assert_eq!(fixture.status("a1").unwrap().state, PluginState::Rejected);
    // A place that becomes free is taken without anybody asking.
    std::fs::remove_file(fixture.path("m00.wasm")).unwrap();
    fixture
        .until("one moves up", |f| {
            f.version("a0").is_some() || f.version("a1").is_some()
        })
        .await;
    fixture.watching.shutdown().await;
}

#[tokio::test]
async fn one_file_that_loads_for_ever_stops_neither_the_others_nor_their_reload() {
    let fixture = Fixture::new(&[("a.wasm", "one")]).await;
    fixture.write("slow.wasm", "slow one");
    fixture.until("begun", |f| f.log().len() == 2).await;
    fixture.write("a.wasm", "two");
    fixture
        .until("replaced", |f| f.version("a").as_deref() == Some("two"))
        .await;
    std::fs::remove_file(fixture.path("a.wasm")).unwrap();
    fixture.until("unloaded", |f| f.status("a").is_none()).await;
    // Nor does it stop what comes in its own place.
    fixture.write("slow.wasm", "quick");
    fixture
        .until("overtaken", |f| f.version("slow").as_deref() == Some("quick"))
        .await;
    fixture.write("slow.wasm", "slow two");
    fixture
        .until("begun", |f| f.log().iter().any(|line| line.contains("slow two")))
        .await;
    assert_eq!(fixture.version("slow").as_deref(), Some("quick"));
    std::fs::remove_file(fixture.path("slow.wasm")).unwrap();
    fixture.until("gone", |f| f.status("slow").is_none()).await;
    fixture.watching.shutdown().await;
}

#[tokio::test]
async fn a_refusal_by_circumstance_is_tried_again_and_one_because_of_the_bytes_is_not() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("busy.wasm", "busy one"),
        ("bad.wasm", "bad one"),
        ("panic.wasm", "panic"),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let fixture_options = options(dir.path());
    let fixture = Fixture::begin_busy(dir, fixture_options, 1).await;
    fixture
        .until("told", |f| {
            f.error("busy") == "the machine is busy; trying again in 1 s"
        })
        .await;
    fixture.until("it serves", |f| f.version("busy").is_some()).await;
    let tries = |name: &str| fixture.log().iter().filter(|line| line.starts_with(name)).count();
    assert_eq!((tries("busy:"), tries("bad:"), tries("panic:")), (2, 1, 1));
    assert_eq!(fixture.error("bad"), "no good: bad one");
    assert!(
        fixture.error("panic").starts_with("loading the plugin panicked"),
        "{}",
        fixture.error("panic")
    );
    fixture.watching.shutdown().await;
}

#[tokio::test]
async fn what_is_no_file_is_told_and_not_passed_over() {
    let fixture = Fixture::new(&[("a.wasm", "one")]).await;
    std::fs::create_dir(fixture.path("folder.wasm")).unwrap();
    std::os::unix::fs::symlink("nothing", fixture.path("link.wasm")).unwrap();
    let pipe = fixture.path("pipe.wasm");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(pipe)
            .status()
            .unwrap()
            .success()
    );
    for (name, what) in [
        ("folder", "it is a directory"),
        ("link", "it is a link to nothing"),
        ("pipe", "it is a pipe"),
    ] {
        fixture.until(name, |f| f.error(name).contains(what)).await;
        assert_eq!(fixture.status(name).unwrap().state, PluginState::Rejected);
    }
    fixture.write("large.wasm", &"x".repeat(101));
    fixture
        .until("large", |f| f.error("large").contains("limit of 100 bytes"))
        .await;
    fixture.watching.shutdown().await;
}

/// A directory whose good files are kept in another one.
fn keeping(dir: &tempfile::TempDir, kept: &tempfile::TempDir) -> PluginOptions {
    PluginOptions {
        kept_dir: Some(kept.path().join("kept")),
        ..options(dir.path())
    }
}

#[tokio::test]
async fn the_last_good_file_is_there_at_the_next_start() {
    let (dir, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(dir.path().join("a.wasm"), "good").unwrap();
    let first_options = keeping(&dir, &kept);
    let first = Fixture::begin(dir, first_options).await;
    assert_eq!(first.status("a").unwrap().source, Some(Source::File));
    first.write("a.wasm", "bad");
    first.until("refused", |f| f.error("a").starts_with("no good")).await;
    assert_eq!(first.version("a").as_deref(), Some("good"));
    first.watching.shutdown().await;

    let Fixture { dir, .. } = first;
    let again_options = keeping(&dir, &kept);
    let again = Fixture::begin(dir, again_options).await;
    let status = again.status("a").unwrap();
    assert_eq!(
        (status.state, status.source),
        (PluginState::Serving, Some(Source::Kept))
    );
    assert_eq!(
        (again.version("a").as_deref(), again.error("a").as_str()),
        (Some("good"), "no good: bad")
    );
    // The same good file put back is the file again, and one that is taken away on purpose is not kept.
    again.write("a.wasm", "good");
    again
        .until("mended", |f| f.status("a").unwrap().source == Some(Source::File))
        .await;
    std::fs::remove_file(again.path("a.wasm")).unwrap();
    again.until("gone", |f| f.status("a").is_none()).await;
    again.write("a.wasm", "bad");
    again
        .until("refused", |f| {
            f.status("a").is_some_and(|s| s.state == PluginState::Rejected)
        })
        .await;
    again.watching.shutdown().await;
}

#[tokio::test]
async fn a_kept_file_that_was_changed_is_not_used() {
    let (dir, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(dir.path().join("a.wasm"), "bad").unwrap();
    std::fs::create_dir(kept.path().join("kept")).unwrap();
    std::fs::write(kept.path().join("kept/a.hash of good.wasm"), "other").unwrap();
    let fixture_options = keeping(&dir, &kept);
    let fixture = Fixture::begin(dir, fixture_options).await;
    assert_eq!(fixture.status("a").unwrap().state, PluginState::Rejected);
    assert_eq!(fixture.log().len(), 1);
    fixture.watching.shutdown().await;
}

#[tokio::test]
async fn a_reload_takes_grants_and_configuration_as_they_are_now() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.wasm"), "one").unwrap();
    std::fs::write(dir.path().join("b.wasm"), "one").unwrap();
    let settings: Arc<Mutex<Result<HashMap<String, PluginConfig>, String>>> = Arc::new(Mutex::new(Ok(HashMap::new())));
    let now = Arc::clone(&settings);
    let fixture_options = PluginOptions {
        reread: Some(Arc::new(move || now.lock().unwrap().clone())),
        ..options(dir.path())
    };
    let fixture = Fixture::begin(dir, fixture_options).await;
    assert_eq!(fixture.log().len(), 2);

    *settings.lock().unwrap() = Ok([("a".to_owned(), granted())].into());
    fixture.watching.reloads.reload().await.unwrap();
    assert_eq!(fixture.log()[2..], [r#"a: one after one, grants ["kv"]"#]);
    assert_eq!(fixture.status("a").unwrap().grants, ["kv"]);

    *settings.lock().unwrap() = Err("line 3: nonsense".to_owned());
    let error = fixture.watching.reloads.reload().await.unwrap_err().to_string();
    assert!(error.contains("nothing was changed"), "{error}");
    assert_eq!((fixture.log().len(), fixture.status("a").unwrap().grants.len()), (3, 1));
    fixture.watching.shutdown().await;
}

#[tokio::test]
async fn what_cannot_do_without_a_grant_does_not_go_on_with_one_that_was_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.wasm"), "needy").unwrap();
    std::fs::write(dir.path().join("b.wasm"), "one").unwrap();
    let with = |config: fn() -> PluginConfig| {
        let both = ["a", "b"].map(|name| (name.to_owned(), config()));
        Ok(HashMap::from(both))
    };
    let settings: Arc<Mutex<Result<HashMap<String, PluginConfig>, String>>> = Arc::new(Mutex::new(with(granted)));
    let now = Arc::clone(&settings);
    let fixture_options = PluginOptions {
        reread: Some(Arc::new(move || now.lock().unwrap().clone())),
        per_plugin: with(granted).unwrap(),
        ..options(dir.path())
    };
    let fixture = Fixture::begin(dir, fixture_options).await;
    let grants = |name: &str| fixture.status(name).unwrap().grants;
    assert_eq!(
        (grants("a"), grants("b")),
        (vec!["kv".to_owned()], vec!["kv".to_owned()])
    );

    *settings.lock().unwrap() = with(PluginConfig::default);
    fixture.watching.reloads.reload().await.unwrap();
    let status = fixture.status("a").unwrap();
    assert_eq!((status.state, status.source), (PluginState::Rejected, None));
    assert!(fixture.error("a").contains("no good: needy"), "{}", fixture.error("a"));
    let serves = |name: &str| fixture.fake.serving.lock().unwrap().contains_key(name);
    assert!(!serves("a") && serves("b"));
    assert_eq!((grants("a"), grants("b")), (Vec::<String>::new(), Vec::new()));

    *settings.lock().unwrap() = with(granted);
    fixture.watching.reloads.reload().await.unwrap();
    assert!(serves("a"));
    fixture.watching.shutdown().await;
}

#[tokio::test]
async fn the_grants_shown_are_those_that_what_serves_was_started_with() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.wasm"), "one").unwrap();
    let now = HashMap::from([("a".to_owned(), granted())]);
    let fixture_options = PluginOptions {
        reread: Some(Arc::new(move || Ok(now.clone()))),
        ..options(dir.path())
    };
    let fixture = Fixture::begin(dir, fixture_options).await;
    // The grant comes with a file that is refused: what serves goes on without it.
    fixture.write("a.wasm", "bad");
    fixture.watching.reloads.reload().await.unwrap();
    fixture.until("refused", |f| f.error("a").contains("no good")).await;
    let status = fixture.status("a").unwrap();
    assert_eq!((status.version.as_deref(), status.grants), (Some("one"), Vec::new()));
    fixture.watching.shutdown().await;
}

#[tokio::test]
async fn a_refusal_is_told_once_however_often_it_is_looked_at() {
    let fixture = Fixture::new(&[("bad.wasm", "bad one")]).await;
    let begun = Instant::now();
    while begun.elapsed() < SETTLE * 3 {
        fixture.write("unrelated.txt", "x");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    fixture.watching.reloads.reload().await.unwrap();
    let reason = "no good: bad one".to_owned();
    let events = fixture.events.lock().unwrap().clone();
    assert_eq!(
        events.iter().map(|event| event.change.clone()).collect::<Vec<_>>(),
        [PluginChange::Rejected { reason }]
    );
    fixture.watching.shutdown().await;
}
