//! A full disk: alerts are refused in time, so that what was accepted can still be applied, read and found again after
//! any kind of stop; and once there is space the server goes on by itself.

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
        let shown = Command::new("df")
            .args(["-B1", "--output=avail"])
            .arg(self.0.path())
            .output()
            .unwrap();
        let text = String::from_utf8(shown.stdout).unwrap();
        text.lines().nth(1).unwrap().trim().parse().unwrap()
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

/// Without the right to mount, the reserve asked for is more than any disk has: the same answers.
fn check_refusal_only() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start_with(options(dir.path().join("data"), u64::MAX >> 1)).unwrap();
    assert_eq!(fill(&mut server.client(), "first"), 0);
    assert_eq!(server.client().get("/incidents").unwrap().status, 200);
}

#[test]
fn a_full_disk_refuses_and_forgets_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        return check_refusal_only();
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
