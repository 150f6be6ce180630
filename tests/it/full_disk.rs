//! A full disk: alerts are refused in time, so that what was accepted can still be applied, read and found again after
//! any kind of stop; and once there is space the server goes on by itself.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use donjon_tests::client::{Answer, Client};
use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::json;

const DISK_BYTES: usize = 128 << 20;
const MIN_FREE_BYTES: u64 = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(30);

/// A small file system of its own, where this machine allows one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<SmallDisk> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={DISK_BYTES}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(dir.path())
            .output()
            .ok()?;
        mounted.status.success().then_some(SmallDisk(dir))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn free_bytes(&self) -> u64 {
        free_bytes(self.0.path())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

/// Takes all the space that is left, the way another program on the machine would.
fn take_the_rest(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    let full = std::io::copy(&mut std::io::repeat(7), &mut file).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull, "{full}");
}

fn options(data_dir: PathBuf, min_free_bytes: u64) -> ServerOptions {
    ServerOptions {
        data_dir: Some(data_dir),
        plugins: vec![files::plugin("rules")],
        config: format!("[storage]\nmin_free_bytes = {min_free_bytes}\ncache_bytes = 8000000\n"),
        ..ServerOptions::default()
    }
}

fn assert_refused(answer: &Answer) {
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert_eq!(answer.json()["code"], "disk_full");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("free some space"), "{detail}");
    assert!(answer.header("retry-after").is_some());
}

/// Sends alerts that do not compress until one is refused; how many were accepted.
fn fill(client: &mut Client, who: &str) -> usize {
    for round in 0..5000 {
        let noise = |_| format!("{:032x}", rand::random::<u128>());
        let text: String = (0..4000).map(noise).collect();
        let alert = json!({"name": "n", "fingerprint": format!("{who}-{round}"), "message": text});
        let answer = client.post("/alerts/event", &alert).unwrap();
        if answer.status != 202 {
            assert_refused(&answer);
            return round;
        }
    }
    panic!("the disk never filled");
}

fn alerts(client: &mut Client) -> usize {
    // An answer is bounded in bytes and says where to go on.
    let (mut count, mut offset) = (0, "0".to_owned());
    loop {
        let answer = client.get(&format!("/alerts?limit=10000&offset={offset}")).unwrap();
        count += answer.json().as_array().unwrap().len();
        match answer.header("x-donjon-next-offset") {
            Some(next) => offset = next.to_owned(),
            None => return count,
        }
    }
}

fn wait_until_applied(client: &mut Client) {
    wait_for("what was accepted to be applied", PATIENCE, || {
        let ready = client.get("/readyz")?.json();
        Ok(ready["accepted"] == ready["applied"])
    })
    .unwrap();
}

/// What the file system of a directory has left.
fn free_bytes(dir: &Path) -> u64 {
    let shown = Command::new("df")
        .args(["-B1", "--output=avail"])
        .arg(dir)
        .output()
        .unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    text.lines().nth(1).unwrap().trim().parse().unwrap()
}

const NEVER_FREE_BYTES: u64 = u64::MAX >> 1;

/// Needs no disk of its own: the reserve is twice what is free, so the floor, a quarter of it, is well below.
#[test]
fn below_the_reserve_alerts_are_refused_and_people_can_still_act() {
    let dir = tempfile::tempdir().unwrap();
    let reserve = free_bytes(dir.path()) * 2;
    let server = Server::start_with(options(dir.path().join("data"), reserve)).unwrap();
    let mut client = server.client();
    assert_eq!(fill(&mut client, "first"), 0);

    let rule = json!({"ruleName": "r", "celQuery": "name == 'n'", "timeframeInSeconds": 60, "timeUnit": "seconds"});
    let created = client.post("/rules", &rule).unwrap();
    assert_eq!(created.status, 200, "people can still act: {}", created.text());
    assert_eq!(client.get("/incidents").unwrap().status, 200);
    let ready = client.get("/readyz").unwrap();
    let why = ready.json()["held"].as_str().unwrap_or_default().to_owned();
    assert!(
        ready.status == 503 && why.starts_with("alerts are refused: the disk is full"),
        "probes say so: {}",
        ready.text()
    );
    let metrics = client.get("/metrics").unwrap().text();
    assert!(metrics.contains("\ndonjon_disk_is_full 1\n"), "{metrics}");
    let log = server.log();
    assert_eq!(log.matches("alerts are refused: the disk is full").count(), 1, "{log}");
    drop(server);

    let server = Server::start_with(options(dir.path().join("data"), NEVER_FREE_BYTES)).unwrap();
    assert_refused(&server.client().post("/rules", &rule).unwrap());
    assert_eq!(fill(&mut server.client(), "second"), 0);
}

/// A replay below the floor: nothing is applied, probes say why, and nothing is lost.
#[test]
fn below_the_floor_the_line_is_held_and_probes_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let server = Server::start_with(options(data.clone(), MIN_FREE_BYTES)).unwrap();
    let sent: Vec<_> = (0..20)
        .map(|at| json!({"name": "n", "fingerprint": format!("f{at}")}))
        .collect();
    let answer = server.client().post("/alerts/event?wait=true", &json!(sent)).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    server.kill().unwrap();
    std::fs::remove_dir_all(data.join("state")).unwrap();

    let held = ServerOptions {
        begins_held: true,
        ..options(data.clone(), NEVER_FREE_BYTES)
    };
    let server = Server::start_with(held).unwrap();
    let mut client = server.client();
    wait_for("the line to be held", PATIENCE, || {
        // At first it is the missing plugin.
        let ready = client.get("/readyz")?.json();
        Ok(ready["held"].as_str().is_some_and(|why| why.contains("disk is full")))
    })
    .unwrap();
    let answer = client.get("/readyz").unwrap();
    let ready = answer.json();
    assert_eq!((answer.status, &ready["ready"]), (503, &json!(false)), "{ready}");
    let why = ready["held"].as_str().unwrap();
    assert!(
        why.contains("disk is full") && why.contains("storage.min_free_bytes"),
        "{why}"
    );
    assert_eq!((&ready["accepted"], &ready["applied"]), (&json!(20), &json!(0)));
    let metrics = client.get("/metrics").unwrap().text();
    assert!(metrics.contains("\ndonjon_line_held 1\n"), "{metrics}");
    let (status, log) = server.stop().unwrap();
    assert!(status.success() && log.contains("the line is held"), "{log}");

    let server = Server::start_with(options(data, MIN_FREE_BYTES)).unwrap();
    wait_until_applied(&mut server.client());
    assert_eq!(alerts(&mut server.client()), 20, "nothing was lost");
}

/// Past the capture of the test runner: a test that could not run must not look as if it had.
fn say_that_nothing_was_filled() {
    let told = "full_disk: NOT RUN: this machine lets nobody mount a small file system, so no disk was really filled; what \
                needs none is tested beside (below_the_reserve.., below_the_floor..)\n";
    std::io::stderr().write_all(told.as_bytes()).unwrap();
}

#[test]
fn a_full_disk_refuses_and_forgets_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        return say_that_nothing_was_filled();
    };
    let options = options(disk.file("data"), MIN_FREE_BYTES);
    std::fs::write(disk.file("other"), vec![1; 24 << 20]).unwrap();

    let server = Server::start_with(options.clone()).unwrap();
    let mut client = server.client();
    let mut accepted = fill(&mut client, "first");
    assert!(accepted > 10, "only {accepted} were taken");
    wait_until_applied(&mut client);
    assert_eq!(alerts(&mut client), accepted);
    let free = disk.free_bytes();
    assert!(free > MIN_FREE_BYTES / 2, "the reserve was used up: {free}");
    let rule = json!({"ruleName": "r", "celQuery": "name == 'n'", "timeframeInSeconds": 60, "timeUnit": "seconds"});
    let created = client.post("/rules", &rule).unwrap();
    assert_eq!(created.status, 200, "people can still act: {}", created.text());
    server.kill().unwrap();

    let server = Server::start_with(options.clone()).unwrap();
    let mut client = server.client();
    assert_eq!(alerts(&mut client), accepted);
    // What waited to be applied counted before: a few more may fit now.
    accepted += fill(&mut client, "second");
    wait_until_applied(&mut client);
    std::fs::remove_file(disk.file("other")).unwrap();
    let taken = client.post("/alerts/event?wait=true", &json!({"name": "n"})).unwrap();
    assert_eq!(taken.status, 200, "there is space again: {}", taken.text());

    take_the_rest(&disk.file("other"));
    assert_refused(&client.post("/alerts/event", &json!({"name": "n"})).unwrap());
    assert_refused(&client.post("/rules", &rule).unwrap());
    assert_eq!(alerts(&mut client), accepted + 1);
    let (status, log) = server.stop().unwrap();
    assert!(status.success(), "{log}");
    // Whether sled has to write when it opens is its business: it starts, or says what to do.
    match Server::start_with(options.clone()) {
        Ok(server) => assert_eq!(alerts(&mut server.client()), accepted + 1),
        Err(error) => {
            let told = format!("{error:#}");
            let clear = told.contains("exit status: 2") && told.contains("free some space");
            assert!(clear, "{told}");
        }
    }

    std::fs::remove_file(disk.file("other")).unwrap();
    let server = Server::start_with(options).unwrap();
    assert_eq!(alerts(&mut server.client()), accepted + 1);
}
