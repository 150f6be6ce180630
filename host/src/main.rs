//! The donjon binary: chooses how memory is managed, then hands over to the library. Knows nothing else.

use std::process::ExitCode;

/// Alerts are parsed on one thread and freed on another, in some sixty pieces each: measured, mimalloc takes a fifth to a
/// third less CPU and half the memory of glibc for that (`host/ARCHITECTURE.md`, 2026-11-21). Without huge pages, by the
/// crate's feature: they would be zeroed whole for scraps.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    donjon::run()
}
