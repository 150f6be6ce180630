//! The donjon binary. Everything it can do is a command of `cli`; everything with a life cycle is wired in `serve`.

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
mod plugin_kv;
mod plugins;
mod rules;
mod serve;
mod telemetry;
mod time;
mod worker;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
