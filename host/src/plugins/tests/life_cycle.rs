//! Files come, change, break and go. Times are short, and every wait has an end.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use donjon_runtime::Role;

use super::super::directory::Watching;
use super::super::options::{PluginChange, PluginOptions};
use super::super::status::PluginState;
use super::fixture::{Fake, Fixture, PATIENCE, SETTLE, options};

#[tokio::test]
async fn the_first_look_is_over_once_every_file_is_decided() {
    let files = [
        ("a.wasm", "one"),
        ("b.wasm", "bad one"),
        (".c.wasm", "x"),
        ("d.wasm.tmp", "x"),
        ("e.f.wasm", "x"),
    ];
    let fixture = Fixture::new(&files).await;
    std::fs::create_dir(fixture.path("dir.wasm")).unwrap();
    let statuses = fixture.watching.board.statuses();
    assert_eq!(
        statuses.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
        ["a", "b", "e.f"]
    );

    let a = &statuses[0];
    assert_eq!((a.state, a.file.as_str()), (PluginState::Serving, "a.wasm"));
    assert_eq!(
        (a.version.as_deref(), a.hash.as_deref()),
        (Some("one"), Some("hash of one"))
    );
    assert_eq!(
        (a.roles, a.calls, a.failures, a.grants.clone()),
        (Role::Correlator.into(), 3, 1, vec!["kv".to_owned()])
    );
    assert!(a.loaded_at_ms.is_some() && a.last_error.as_ref().unwrap().message == "a call failed");

    let b = &statuses[1];
    assert_eq!(
        (b.state, b.version.clone(), b.loaded_at_ms),
        (PluginState::Rejected, None, None)
    );
    let error = b.last_error.as_ref().unwrap();
    assert_eq!(
        (error.message.as_str(), error.hash.as_deref()),
        ("no good: bad one", Some("hash of bad one"))
    );
    assert!(
        statuses[2]
            .last_error
            .as_ref()
            .unwrap()
            .message
            .starts_with("rename the file")
    );
    assert_eq!(fixture.events.lock().unwrap().len(), 3);
    fixture.watching.shutdown().await;
}

#[tokio::test]
async fn a_new_version_replaces_the_old_one_and_a_bad_one_does_not() {
    let fixture = Fixture::new(&[("a.wasm", "one")]).await;
    fixture.write("a.wasm", "two");
    fixture
        .until("replaced", |f| f.version("a").as_deref() == Some("two"))
        .await;
    assert_eq!(fixture.log()[1], r#"a: two after one, grants ["kv"]"#);

    fixture.write("a.wasm", "bad three");
    let refused = |f: &Fixture| {
        f.status("a")
            .unwrap()
            .last_error
            .is_some_and(|e| e.message == "no good: bad three")
    };
    fixture.until("refused", refused).await;
    let status = fixture.status("a").unwrap();
    assert_eq!(
        (status.state, status.version.as_deref()),
        (PluginState::Serving, Some("two"))
    );
    assert_eq!(fixture.fake.serving.lock().unwrap()["a"].0, "two");

    // Back to what serves: nothing to load, and nothing wrong any more.
    fixture.write("a.wasm", "two");
    fixture
        .until("forgiven", |f| {
            f.status("a").unwrap().last_error.unwrap().message == "a call failed"
        })
        .await;
    assert_eq!(fixture.log().len(), 3);
    fixture.watching.shutdown().await;
}

#[tokio::test]
async fn a_file_is_not_read_before_it_is_whole() {
    let fixture = Fixture::new(&[]).await;
    for end in 1..=8 {
        fixture.write("a.wasm", &"complete"[..end]);
        tokio::time::sleep(SETTLE / 4).await;
    }
    fixture
        .until("loaded", |f| f.version("a").as_deref() == Some("complete"))
        .await;
    assert_eq!(fixture.log(), [r#"a: complete after nothing, grants ["kv"]"#]);
    fixture.watching.shutdown().await;
}

#[tokio::test]
async fn renaming_over_and_deleting_and_creating_never_leave_a_gap() {
    let fixture = Fixture::new(&[("a.wasm", "one")]).await;
    fixture.write("new.tmp", "two");
    std::fs::rename(fixture.path("new.tmp"), fixture.path("a.wasm")).unwrap();
    fixture
        .until("renamed over", |f| f.version("a").as_deref() == Some("two"))
        .await;
    std::fs::remove_file(fixture.path("a.wasm")).unwrap();
    tokio::time::sleep(SETTLE / 3).await;
    fixture.write("a.wasm", "three");
    fixture
        .until("created again", |f| f.version("a").as_deref() == Some("three"))
        .await;
    let gone = fixture
        .events
        .lock()
        .unwrap()
        .iter()
        .any(|event| event.change == PluginChange::Unloaded);
    assert!(!gone);
    assert_eq!(fixture.log()[2], r#"a: three after two, grants ["kv"]"#);
    fixture.watching.shutdown().await;
}

#[tokio::test]
async fn a_deleted_plugin_is_unloaded_once_no_batch_uses_it() {
    let fixture = Fixture::new(&[("a.wasm", "one")]).await;
    let in_flight = {
        let records = fixture.watching.board.records();
        Arc::clone(&records["a"].serving.as_ref().unwrap().unit)
    };
    std::fs::remove_file(fixture.path("a.wasm")).unwrap();
    fixture
        .until("draining", |f| {
            f.status("a").is_some_and(|s| s.state == PluginState::Draining)
        })
        .await;
    assert!(fixture.fake.serving.lock().unwrap().is_empty());
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert!(fixture.status("a").is_some());
    drop(in_flight);
    fixture.until("gone", |f| f.status("a").is_none()).await;
    assert_eq!(
        fixture.events.lock().unwrap().last().unwrap().change,
        PluginChange::Unloaded
    );
    fixture.watching.shutdown().await;
}

#[tokio::test]
async fn a_link_whose_target_is_exchanged_is_a_change() {
    let fixture = Fixture::new(&[]).await;
    let versions = tempfile::tempdir().unwrap();
    let version = |name: &str| {
        std::fs::write(versions.path().join(name), name).unwrap();
        versions.path().join(name)
    };
    let link = |target: &Path| {
        std::os::unix::fs::symlink(target, fixture.path("link.tmp")).unwrap();
        std::fs::rename(fixture.path("link.tmp"), fixture.path("a.wasm")).unwrap();
    };
    link(&version("one"));
    fixture
        .until("linked", |f| f.version("a").as_deref() == Some("one"))
        .await;
    link(&version("two"));
    fixture
        .until("linked anew", |f| f.version("a").as_deref() == Some("two"))
        .await;
    fixture.watching.shutdown().await;
}

#[tokio::test]
async fn a_reload_gives_refused_files_another_chance_and_leaves_the_others() {
    let fixture = Fixture::new(&[("a.wasm", "one"), ("b.wasm", "bad")]).await;
    assert_eq!(fixture.log().len(), 2);
    fixture.watching.reloads.reload().await.unwrap();
    assert_eq!(fixture.log()[2..], ["b: bad after nothing, grants []"]);
    fixture.watching.shutdown().await;
    fixture.watching.reloads.reload().await.unwrap();
}

#[tokio::test]
async fn changes_are_found_without_being_reported() {
    // The system reports changes of the directory that was there at first, not of the one in its place.
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("plugins");
    let fake = Fake::default();
    let options = PluginOptions {
        rescan: Duration::from_millis(100),
        ..options(&dir)
    };
    let watching = Watching::start(options, fake, Arc::new(|_| {})).await.unwrap();
    std::fs::rename(&dir, parent.path().join("old")).unwrap();
    tokio::time::sleep(Duration::from_millis(250)).await;
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("a.wasm"), "one").unwrap();
    let begun = Instant::now();
    while watching.board.statuses().is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    watching.shutdown().await;
}

#[tokio::test]
async fn a_directory_that_disappears_does_not_unload_anything() {
    let fixture = Fixture::new(&[("a.wasm", "one")]).await;
    let away = fixture.dir.path().with_extension("away");
    std::fs::rename(fixture.dir.path(), &away).unwrap();
    fixture.watching.reloads.reload().await.unwrap();
    tokio::time::sleep(SETTLE * 3).await;
    fixture.watching.reloads.reload().await.unwrap();
    assert_eq!(fixture.status("a").unwrap().state, PluginState::Serving);
    std::fs::rename(&away, fixture.dir.path()).unwrap();
    fixture.watching.shutdown().await;
}
