//! What is refused, and what is known, before the compiler spends a second on a file; and how a plugin of another contract
//! with the same number is named.

use std::path::Path;

use donjon_runtime::{Limits, LoadError, Runtime, RuntimeOptions, examine, served_capabilities};

use crate::guests::{self, CORRELATOR, correlator, module, module_of, quick, runtime};

const EXPORTS: &str = r#"(export "donjon:plugin/lifecycle@0.2.0" (instance $empty))
    (export "donjon:plugin/correlation@0.2.0" (instance $empty))"#;

fn with_imports(imports: &[&str]) -> Vec<u8> {
    let imports: String = imports
        .iter()
        .map(|name| format!(r#"(import "{name}" (instance (export "get" (func))))"#))
        .collect();
    wat::parse_str(format!("(component {imports} (instance $empty) {EXPORTS})")).unwrap()
}

#[test]
fn imports_are_checked_before_anything_is_compiled_and_all_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Runtime::new(RuntimeOptions {
        cache_dir: Some(dir.path().to_owned()),
        limits: Limits::default(),
    })
    .unwrap();
    let wasi = with_imports(&[
        "wasi:io/poll@0.3.0",
        "donjon:host/log@0.2.0",
        "wasi:clocks/wall-clock@0.2.9",
        "wasi:cli/environment@0.3.0",
    ]);
    let error = runtime.compile_granted("python", &[], &wasi).unwrap_err();
    let text = error.to_string();
    assert!(
        text.ends_with("wasi:io/poll@0.3.0, wasi:cli/environment@0.3.0"),
        "{text}"
    );
    assert!(text.contains("of WASI only 0.2") && error.is_about_the_file(), "{text}");

    let error = runtime.compile_granted("guest", &[], &correlator()).unwrap_err();
    assert!(
        matches!(&error, LoadError::NotGranted { grants, .. } if grants == &["kv"]),
        "{error}"
    );
    assert!(error.to_string().contains("POST /plugins/reload"), "{error}");

    let compiled = std::fs::read_dir(dir.path()).unwrap();
    let compiled = compiled.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "cwasm"));
    assert_eq!(compiled.count(), 0, "nothing was compiled");
    assert!(
        runtime
            .compile_from_cache("guest", &["kv".to_owned()], &correlator())
            .unwrap()
            .is_none()
    );
    runtime
        .compile_granted("guest", &["kv".to_owned()], &correlator())
        .unwrap();
    assert!(
        runtime
            .compile_from_cache("guest", &["kv".to_owned()], &correlator())
            .unwrap()
            .is_some()
    );
}

#[test]
fn what_a_file_is_can_be_told_without_a_compiler() {
    let bytes = correlator();
    let examined = examine(&bytes, 1 << 20).unwrap();
    assert_eq!(
        (examined.roles.to_string().as_str(), examined.api_version.as_str()),
        ("correlator", "0.2.0")
    );
    assert_eq!(examined.imports, ["donjon:host/log@0.2.0", "donjon:host/kv@0.2.0"]);
    assert!(!examined.debug_build);
    let section = b".debug_info";
    let mut debug = correlator();
    debug.extend([
        0,
        u8::try_from(section.len()).unwrap() + 1,
        u8::try_from(section.len()).unwrap(),
    ]);
    debug.extend(section);
    assert!(examine(&debug, 1 << 20).unwrap().debug_build);
    assert_eq!(served_capabilities(), ["log", "config", "kv"]);
}

/// The contract with a record of other fields under the same number.
fn other_contract(to: &Path) {
    for (file, text) in [
        ("plugin.wit", "plugin.wit"),
        ("host", "deps/host/host.wit"),
        ("types", "deps/types/types.wit"),
    ] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit").join(text);
        let mut wit = std::fs::read_to_string(from).unwrap();
        if file == "plugin.wit" {
            wit = wit.replacen(
                "record description {",
                "record description {\n        /// Not in ours.\n        added: string,",
                1,
            );
            assert!(wit.contains("added: string"));
        }
        let place = to.join(text);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, wit).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_contract_of_the_same_number_is_named_so_with_the_interface() {
    let wit = tempfile::tempdir().unwrap();
    other_contract(wit.path());
    let error = guests::start(&runtime(quick()), &module_of(wit.path(), CORRELATOR, "correlator"))
        .await
        .err()
        .unwrap();
    let text = error.to_string();
    assert!(text.contains("built against another contract 0.2"), "{text}");
    assert!(
        text.contains("donjon:plugin/lifecycle: ") && error.is_about_the_file(),
        "{text}"
    );
    assert!(
        guests::start(&runtime(quick()), &module(CORRELATOR, "correlator"))
            .await
            .is_ok()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_fails_may_be_tried_again_and_a_bad_file_may_not() {
    let looping = guests::correlator_with_init("(loop $ever (br $ever))");
    let error = guests::start(&runtime(quick()), &looping).await.err().unwrap();
    assert!(!error.is_about_the_file(), "{error}");
    let error = runtime(quick()).compile(b"not wasm").unwrap_err();
    assert!(error.is_about_the_file(), "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
}
