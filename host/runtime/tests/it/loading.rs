//! From a file to a started plugin: every way to be refused, and the cache of compiled plugins.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use donjon_core::batch::Wants;
use donjon_runtime::{Limits, Role, Runtime, RuntimeOptions, hash_of};

use crate::guests::{self, ENRICHER, EXPORTER, correlator, module, quick, runtime};

/// What an operator can do about a plugin that is out of memory at its start.
const ADVICE: &str = "; raise plugin_host.memory_bytes, or let the plugin take less at its start";

fn refusal(bytes: &[u8]) -> String {
    let limits = Limits {
        file_bytes: 1 << 20,
        ..Limits::default()
    };
    runtime(limits).compile(bytes).unwrap_err().to_string()
}

fn component(exports: &[&str], import: Option<&str>) -> Vec<u8> {
    let import = import
        .map(|name| format!(r#"(import "{name}" (instance (export "get" (func))))"#))
        .unwrap_or_default();
    let exports: String = exports
        .iter()
        .map(|name| format!(r#"(export "{name}" (instance $empty))"#))
        .collect();
    wat::parse_str(format!("(component {import} (instance $empty) {exports})")).unwrap()
}

#[test]
fn what_is_no_plugin_is_refused_with_the_reason() {
    let whole = correlator();
    assert!(refusal(b"").starts_with("the file is empty"));
    assert!(refusal(&vec![0; (1 << 20) + 1]).contains("larger than the limit of 1048576 bytes"));
    assert!(refusal(b"not a wasm file").starts_with("not a complete WebAssembly file"));
    assert!(refusal(&wat::parse_str("(module)").unwrap()).contains("without a component-type section"));
    assert!(refusal(b"\x7fELF\x02\x01").starts_with("precompiled files are refused"));
    assert!(refusal(&component(&[], None)).starts_with("not a Donjon plugin"));
    let no_lifecycle = component(&["donjon:plugin/correlation@0.2.0"], None);
    assert!(refusal(&no_lifecycle).contains("does not export donjon:plugin/lifecycle"));
    for other in ["0.1.0", "0.9.0"] {
        let exports = ["lifecycle", "correlation"].map(|name| format!("donjon:plugin/{name}@{other}"));
        let text = refusal(&component(&exports.each_ref().map(String::as_str), None));
        assert!(
            text.contains("another version of the contract than 0.2") && text.contains("rebuild it"),
            "{text}"
        );
    }
    assert!(runtime(Limits::default()).compile(&whole).is_ok());
}

#[test]
fn a_file_cut_anywhere_is_refused_and_never_a_panic() {
    let runtime = runtime(Limits::default());
    let whole = correlator();
    let encoded = wit_component::ComponentEncoder::default()
        .module(&whole)
        .unwrap()
        .encode()
        .unwrap();
    for file in [&whole, &encoded] {
        for end in (1..file.len()).step_by(7) {
            // A cut between two sections can leave a valid module, which then lacks its interface or its exports.
            assert!(runtime.compile(&file[..end]).is_err(), "cut at {end} of {}", file.len());
        }
        assert!(runtime.compile(file).is_ok());
    }
}

#[test]
fn wasmtime_s_own_precompiled_files_are_refused() {
    let engine = wasmtime::Engine::default();
    let compiled = engine.precompile_component(&component(&[], None)).unwrap();
    assert!(refusal(&compiled).starts_with("precompiled files are refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn started_plugins_tell_what_they_are() {
    let runtime = runtime(quick());
    let bytes = correlator();
    let plugin = guests::start(&runtime, &bytes).await.unwrap();
    assert_eq!(
        (plugin.name(), plugin.version(), plugin.roles()),
        ("guest", "1.2.3", Role::Correlator.into())
    );
    assert_eq!(
        (plugin.hash(), plugin.api_version()),
        (hash_of(&bytes).as_str(), "0.2.0")
    );
    assert_eq!(plugin.imports(), ["donjon:host/log@0.2.0", "donjon:host/kv@0.2.0"]);
    assert_eq!(
        plugin.description().wants_to_correlate,
        Wants::Fields(vec!["severity".to_owned()])
    );
    assert!(plugin.takes_rules() && plugin.unused_grants().is_empty());

    let enricher = guests::start(&runtime, &module(ENRICHER, "enricher")).await.unwrap();
    assert_eq!(
        (enricher.roles(), &enricher.description().wants_to_enrich),
        (Role::Enricher.into(), &Wants::Documents)
    );
    assert_eq!(enricher.unused_grants(), ["kv"]);
    let exporter = guests::start(&runtime, &module(EXPORTER, "exporter")).await.unwrap();
    assert_eq!(
        (exporter.roles(), exporter.description().name.as_str()),
        (Role::Exporter.into(), "test exporter")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_grant_names_the_interface_and_the_key() {
    let runtime = runtime(quick());
    let mut options = guests::options(&runtime, &correlator());
    options.grants.clear();
    let text = runtime.start(options).await.err().unwrap().to_string();
    assert!(
        text.contains(r#"`grants = ["kv"]`"#) && text.contains("[plugins.guest]"),
        "{text}"
    );
    assert!(text.ends_with("donjon:host/kv@0.2.0"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn interfaces_that_this_version_lacks_are_named() {
    let runtime = runtime(quick());
    let exports = ["donjon:plugin/lifecycle@0.2.0", "donjon:plugin/correlation@0.2.0"];
    for import in ["wasi:cli/environment@0.3.0", "donjon:host/topology@0.2.0"] {
        let text = guests::start(&runtime, &component(&exports, Some(import)))
            .await
            .err()
            .unwrap()
            .to_string();
        assert!(
            text.contains("not available in this version") && text.ends_with(import),
            "{text}"
        );
    }
    let text = guests::start(&runtime, &component(&exports, None))
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(text.starts_with("the plugin does not fit the contract"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_or_greedy_init_is_a_load_error_that_says_so() {
    let runtime = runtime(quick());
    let begun = Instant::now();
    let runtime = &runtime;
    let text = |bytes: Vec<u8>| async move { guests::start(runtime, &bytes).await.err().unwrap().to_string() };
    let looping = text(guests::correlator_with_init("(loop $ever (br $ever))")).await;
    assert_eq!(
        looping,
        "the plugin failed in `init`: timed out: computed for longer than 200 ms"
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
    let greedy = "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable";
    let greedy = text(guests::correlator_with_init(greedy)).await;
    assert_eq!(
        greedy,
        format!(
            "the plugin failed in `init`: out of memory: limit {} bytes{ADVICE}",
            8 << 20
        )
    );
    let large = text(guests::module(
        &guests::CORRELATOR.replace(r#""memory") 32"#, r#""memory") 999"#),
        "correlator",
    ));
    assert_eq!(
        large.await,
        format!(
            "the plugin failed in `instantiate`: out of memory: limit {} bytes{ADVICE}",
            8 << 20
        )
    );
}

#[test]
fn the_cache_answers_what_it_wrote_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let cache_dir = dir.path().join("cache");
    let open = || {
        let options = RuntimeOptions {
            cache_dir: Some(cache_dir.clone()),
            limits: Limits::default(),
        };
        Runtime::new(options).unwrap()
    };
    let bytes = correlator();
    assert!(!open().compile(&bytes).unwrap().from_cache);
    assert!(open().compile(&bytes).unwrap().from_cache);

    let entries = std::fs::read_dir(&cache_dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let entry = entries
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "cwasm"))
        .unwrap();
    let good = std::fs::read(&entry).unwrap();
    for position in [0, 31, 32, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[position] ^= 1;
        std::fs::write(&entry, bad).unwrap();
        assert!(!open().compile(&bytes).unwrap().from_cache, "changed at {position}");
        assert_eq!(std::fs::read(&entry).unwrap().len(), good.len(), "written anew");
    }
    std::fs::write(&entry, b"short").unwrap();
    assert!(!open().compile(&bytes).unwrap().from_cache);
    assert!(open().compile(&bytes).unwrap().from_cache);

    // An entry under another file's name is not that file.
    let other = guests::correlator_with_init("nop");
    let renamed = entry.to_str().unwrap().replace(&hash_of(&bytes), &hash_of(&other));
    std::fs::copy(&entry, renamed).unwrap();
    assert!(!open().compile(&other).unwrap().from_cache);

    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(&cache_dir), mode(&cache_dir.join("key")), mode(&entry)),
        (0o700, 0o600, 0o600)
    );
    std::fs::remove_file(cache_dir.join("key")).unwrap();
    assert!(!open().compile(&bytes).unwrap().from_cache, "another key");
}

#[test]
fn the_cache_keeps_a_limited_number_of_plugins() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits {
        cached_files: 2,
        ..Limits::default()
    };
    let runtime = Runtime::new(RuntimeOptions {
        cache_dir: Some(dir.path().into()),
        limits,
    })
    .unwrap();
    for init in ["nop", "nop nop", "nop nop nop"] {
        runtime.compile(&guests::correlator_with_init(init)).unwrap();
    }
    let files = std::fs::read_dir(dir.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name() != "key");
    assert_eq!(files.count(), 2);
}
