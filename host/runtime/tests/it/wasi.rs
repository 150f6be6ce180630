//! Plugins whose tools import WASI, as those of Python and JavaScript do: they load, any patch of 0.2, without a grant; the
//! clock and the randomness are those of the call, output is their log and says why a call broke, and what cannot be had
//! says so.

use std::path::Path;
use std::sync::Arc;

use donjon_core::batch::{BatchBuilder, Change};
use donjon_core::{Seq, TenantId, Timestamp};
use donjon_runtime::{EnrichOutcome, Plugin, Runtime, served_capabilities};
use wit_parser::{Resolve, WorldItem};

use crate::guests::{self, ENRICHER, module_of, quick, runtime};

const ASKING: &str = include_str!("wasi.wat");
const PACKAGES: [(&str, &str); 6] = [
    (
        "io",
        "package wasi:io@VERSION;
        interface error { resource error; }
        interface streams {
            use error.{error};
            variant stream-error { last-operation-failed(error), closed }
            resource output-stream {
                blocking-write-and-flush: func(contents: list<u8>) -> result<_, stream-error>;
            }
        }",
    ),
    (
        "cli",
        "package wasi:cli@VERSION;
        interface stderr {
            use wasi:io/streams@VERSION.{output-stream};
            get-stderr: func() -> output-stream;
        }
        interface environment { get-environment: func() -> list<tuple<string, string>>; }
        interface exit { exit: func(status: result); }",
    ),
    (
        "clocks",
        "package wasi:clocks@VERSION;
        interface wall-clock {
            record datetime { seconds: u64, nanoseconds: u32 }
            now: func() -> datetime;
        }",
    ),
    (
        "filesystem",
        "package wasi:filesystem@VERSION;
        interface types { resource descriptor; }
        interface preopens {
            use types.{descriptor};
            get-directories: func() -> list<tuple<descriptor, string>>;
        }",
    ),
    (
        "random",
        "package wasi:random@VERSION;
        interface random { get-random-u64: func() -> u64; }",
    ),
    (
        "sockets",
        "package wasi:sockets@VERSION;
        interface tcp {
            use wasi:io/error@VERSION.{error as io-error};
            resource tcp-socket { bind: func() -> result<_, io-error>; }
            connect: func(port: u16);
        }",
    ),
];
const IMPORTS: [(&str, &str); 8] = [
    ("cli/stderr", r#""get-stderr" (func $stderr (result i32))"#),
    (
        "io/streams",
        r#""[method]output-stream.blocking-write-and-flush" (func $write (param i32 i32 i32 i32))"#,
    ),
    (
        "cli/environment",
        r#""get-environment" (func $environment (param i32))"#,
    ),
    (
        "filesystem/preopens",
        r#""get-directories" (func $directories (param i32))"#,
    ),
    ("clocks/wall-clock", r#""now" (func $now (param i32))"#),
    ("random/random", r#""get-random-u64" (func $random (result i64))"#),
    ("cli/exit", r#""exit" (func $exit (param i32))"#),
    ("sockets/tcp", r#""connect" (func $connect (param i32))"#),
];

/// The enricher of these tests with WASI of a version, which does this once it has asked for everything.
fn asking(version: &str, then: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let write = |place: &str, text: &str| {
        let place = dir.path().join(place);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, text).unwrap();
    };
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let read = |place: &str| std::fs::read_to_string(ours.join(place)).unwrap();
    for place in ["deps/host/host.wit", "deps/types/types.wit"] {
        write(place, &read(place));
    }
    for (package, text) in PACKAGES {
        write(
            &format!("deps/{package}/{package}.wit"),
            &text.replace("VERSION", version),
        );
    }
    let imports = IMPORTS
        .map(|(interface, _)| format!("import wasi:{interface}@{version};"))
        .concat();
    let world = format!("world foreign {{ {imports} export lifecycle; export enrichment; }}");
    write("plugin.wit", &format!("{}\n{world}", read("plugin.wit")));

    let imports = IMPORTS.map(|(interface, function)| {
        let (name, rest) = function.split_once(' ').unwrap();
        format!("(import \"wasi:{interface}@{version}\" {name} {rest})\n")
    });
    let asking = ASKING.replace(";; THEN", then);
    let text = ENRICHER
        .replacen("(module", &format!("(module {}", imports.concat()), 1)
        .replacen("(func $take", &format!("{asking}\n  (func $take"), 1)
        .replacen("(local.set $count", "(call $ask) (local.set $count", 1)
        .replacen(r#""\30\00\00\00\04\00\00\00""#, r#""\00\08\00\00\2b\00\00\00""#, 1);
    assert!(text.contains("(call $ask)") && text.contains(r#""\00\08\00\00\2b\00\00\00""#));
    module_of(dir.path(), &text, "foreign")
}

async fn started(runtime: &Arc<Runtime>, version: &str, then: &str) -> Plugin {
    let mut options = guests::options(runtime, &asking(version, then));
    options.grants.clear();
    runtime.start(options).await.unwrap()
}

async fn enrich(plugin: &Plugin, tenant: &str, seq: u64) -> EnrichOutcome {
    let mut documents = BatchBuilder::new(TenantId::from(tenant), 1, std::iter::empty());
    documents.document(b"{}");
    documents.end_alert(Seq(seq), Timestamp(1_700_000_000_999));
    plugin.enrich(documents.finish()).await
}

/// The clock and the random number that the plugin saw.
async fn saw(plugin: &Plugin, tenant: &str, seq: u64) -> (u64, u64) {
    let outcome = enrich(plugin, tenant, seq).await;
    assert!(outcome.failed.is_empty(), "{:?}", outcome.failed);
    let set = outcome.patches[0].changes.iter().find_map(|change| match change {
        Change::Set { json, .. } => Some(json),
        _ => None,
    });
    let json = set.unwrap();
    let (clock, random) = json.trim_matches('"').split_once(' ').unwrap();
    (clock.parse().unwrap(), random.parse().unwrap())
}

/// The tools of other languages import the whole of a world.
#[test]
fn whole_worlds_of_the_roles_that_serve_ask_for_nothing_that_is_not_there() {
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let (package, _) = resolve.push_dir(wit).unwrap();
    for (world, allowed) in [
        ("correlator", served_capabilities()),
        ("enricher", served_capabilities()),
        ("small-correlator", vec!["log", "config"]),
        ("small-enricher", vec!["log", "config"]),
    ] {
        let id = resolve.select_world(&[package], Some(world)).unwrap();
        for import in resolve.worlds[id].imports.values() {
            let WorldItem::Interface { id, .. } = import else {
                continue;
            };
            let name = resolve.id_of(*id).unwrap();
            let capability = name
                .strip_prefix("donjon:host/")
                .and_then(|name| name.split('@').next());
            assert!(
                capability.is_none_or(|name| allowed.contains(&name)),
                "{world} imports {name}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_patch_of_wasi_links_without_a_grant() {
    let runtime = runtime(quick());
    for version in ["0.2.0", "0.2.9", "0.2.12"] {
        let plugin = started(&runtime, version, "").await;
        assert_eq!(saw(&plugin, "acme", 1).await.0, 1_700_000_000, "{version}");
    }
    let mut options = guests::options(&runtime, &asking("0.2.9", ""));
    options.grants.clear();
    let imports = options.compiled.imports;
    assert!(
        imports.contains(&"wasi:sockets/tcp@0.2.9".to_owned()),
        "an operator sees them: {imports:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_call_has_the_same_time_and_randomness() {
    let runtime = runtime(quick());
    let plugin = started(&runtime, "0.2.9", "").await;
    let first = saw(&plugin, "acme", 7).await;
    let other = saw(&plugin, "acme", 8).await;
    assert_ne!(first.1, other.1, "another call has other randomness");
    assert_ne!(first.1, saw(&plugin, "globex", 7).await.1, "and so has another tenant");
    assert_eq!(saw(&plugin, "acme", 7).await, first);
    let again = started(&runtime, "0.2.9", "").await;
    assert_eq!(saw(&again, "acme", 7).await, first, "whichever instance it is made on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_traceback_on_standard_error_says_why_a_call_broke() {
    let plugin = started(&runtime(quick()), "0.2.12", "(unreachable)").await;
    let outcome = enrich(&plugin, "acme", 1).await;
    let why = &outcome.failed[0].1;
    assert!(
        why.contains(r#"it had logged: Traceback | File "team.py", line 12 | KeyError: 7"#),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_plugin_cannot_have_names_itself() {
    let runtime = runtime(quick());
    for (then, expected) in [
        (
            "(call $connect (i32.const 80))",
            "wasi:sockets/tcp@0.2.9#connect is not available to plugins: there is no network here",
        ),
        ("(call $exit (i32.const 1))", "the plugin ended itself with exit code 1"),
    ] {
        let plugin = started(&runtime, "0.2.9", then).await;
        let outcome = enrich(&plugin, "acme", 1).await;
        assert!(outcome.failed[0].1.contains(expected), "{:?}", outcome.failed);
    }
}
