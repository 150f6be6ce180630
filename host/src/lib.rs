//! Everything the `donjon` binary can do, as a library, so that the fuzz targets reach the doors that strangers' bytes
//! come through. Nothing else is public: the product is the binary. Everything it can do is a command of `cli`;
//! everything with a life cycle is wired in `serve`.

#![recursion_limit = "256"]

mod api;
mod cli;
mod clock;
mod config;
mod disk_space;
mod http;
mod ingest;
mod intake;
mod json;
mod line;
mod near;
mod plugin_kv;
mod plugins;
mod rule_changes;
mod rules;
mod serve;
#[cfg(test)]
mod simulation;
mod telemetry;
mod time;
mod worker;

/// What the fuzz targets of `tests/fuzz` call.
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::ingest::fuzzing::ingest_body;
}

/// Runs the command line of this process and says how it ended.
#[must_use]
pub fn run() -> std::process::ExitCode {
    cli::run()
}
