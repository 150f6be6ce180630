//! From the bytes of a file to a component that may be compiled. Everything untrusted goes through here in this order,
//! because `wit-component` panics on a module that `wasmparser` would refuse. Compiles and runs nothing.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use donjon_core::limits::MAX_ERROR_TEXT_BYTES;
use donjon_core::text::one_line;
use wasmparser::{Parser, Payload, Validator};
use wasmtime::Engine;
use wit_component::ComponentEncoder;

use crate::errors::LoadError;

const ELF: &[u8] = b"\x7fELF";
const COMPONENT_TYPE: &str = "component-type";

/// The bytes of a component: the file itself, or what its core module becomes.
pub(crate) fn component_bytes(bytes: &[u8], file_bytes: usize) -> Result<Cow<'_, [u8]>, LoadError> {
    refuse_by_sight(bytes, file_bytes)?;
    without_panic(|| validate(bytes)).unwrap_or_else(|panic| Err(LoadError::Invalid(panic)))?;
    if Parser::is_component(bytes) {
        return Ok(Cow::Borrowed(bytes));
    }
    if !describes_itself(bytes) {
        return Err(LoadError::NoComponentType);
    }
    let encoded = without_panic(|| encode(bytes)).unwrap_or_else(|panic| Err(LoadError::Encode(panic)))?;
    Ok(Cow::Owned(encoded))
}

fn refuse_by_sight(bytes: &[u8], file_bytes: usize) -> Result<(), LoadError> {
    if bytes.is_empty() {
        return Err(LoadError::Empty);
    }
    if bytes.len() > file_bytes {
        return Err(LoadError::TooLarge {
            limit: file_bytes,
            bytes: bytes.len(),
        });
    }
    if bytes.starts_with(ELF) || Engine::detect_precompiled(bytes).is_some() {
        return Err(LoadError::Precompiled);
    }
    Ok(())
}

fn validate(bytes: &[u8]) -> Result<(), LoadError> {
    Validator::new()
        .validate_all(bytes)
        .map(|_| ())
        .map_err(|e| LoadError::Invalid(short(&e)))
}

/// Whether the module carries the section that says which interfaces it imports and exports.
fn describes_itself(bytes: &[u8]) -> bool {
    Parser::new(0).parse_all(bytes).any(
        |payload| matches!(payload, Ok(Payload::CustomSection(section)) if section.name().starts_with(COMPONENT_TYPE)),
    )
}

fn encode(bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    let failed = |e: &dyn std::fmt::Display| LoadError::Encode(short(e));
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true);
    encoder.module(bytes).map_err(|e| failed(&format!("{e:#}")))?;
    encoder.encode().map_err(|e| failed(&format!("{e:#}")))
}

/// Runs third-party code on untrusted bytes; a panic in it is the file's fault, not the end of the host.
pub(crate) fn without_panic<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        short(&text.as_deref().unwrap_or("panic"))
    })
}

/// What a library says about a file, as one line: some of their texts are drawn over several.
pub(crate) fn short(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let words: Vec<&str> = text.split_whitespace().collect();
    one_line(&words.join(" "), MAX_ERROR_TEXT_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_library_draws_over_several_lines_is_told_in_one() {
        let drawn = "bad magic:\n    expected=[\n        0x0,\n    ],\n\u{1b}[1m";
        assert_eq!(short(&drawn), "bad magic: expected=[ 0x0, ], \\u{1b}[1m");
        assert_eq!(short(&"x".repeat(2 * MAX_ERROR_TEXT_BYTES)).len(), MAX_ERROR_TEXT_BYTES);
    }
}
