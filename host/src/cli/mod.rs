//! The command line: what can be typed, and the exit code of each outcome. Commands that talk to a server use its HTTP
//! interface like anybody else; only `serve` opens data.

mod alert;
mod check_config;
mod client;
mod incident;
mod output;
mod plugin_build;
mod rule;
mod wrong_input;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::{self, Config};
use crate::serve;
use client::{Answered, ClientOptions};
use output::Output;
use wrong_input::WrongInput;

/// Correlates alerts into incidents, with rules in WebAssembly components that can be swapped while it runs.
#[derive(Parser)]
#[command(
    name = "donjon",
    version,
    arg_required_else_help = true,
    after_help = "\
Begin:      donjon serve                     starts on 127.0.0.1:8080 with ./donjon-data and ./plugins
Send:       echo '{\"name\":\"disk full\"}' | donjon alert send -
Look:       donjon incident list             or http://127.0.0.1:8080/incidents
Exit codes: 0 done; 1 failed, also where the server cannot at the moment (try again); 2 wrong input or configuration"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the server.
    #[command(after_help = "\
The first line on standard output is the address: `listening on http://127.0.0.1:PORT`. Logs go to standard error.
SIGTERM or Ctrl-C drains and stops; a second one stops at once. Nothing acknowledged is lost either way.
Every configuration key can be given as a variable: DONJON_STORAGE__DATA_DIR=/var/lib/donjon")]
    Serve(ServeArgs),
    /// Check a configuration file and say what is wrong with it.
    CheckConfig(CheckConfigArgs),
    /// Work with plugins.
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Work with alerts.
    #[command(subcommand)]
    Alert(AlertCommand),
    /// Work with incidents.
    #[command(subcommand)]
    Incident(IncidentCommand),
    /// Work with correlation rules.
    #[command(subcommand)]
    Rule(RuleCommand),
    /// Print the script that completes commands in a shell.
    #[command(after_help = "For bash: donjon completion bash > /etc/bash_completion.d/donjon")]
    Completion {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the version.
    Version,
}

#[derive(Args)]
struct ServeArgs {
    /// Configuration file (TOML). Flags win over it.
    #[arg(long, env = "DONJON_CONFIG")]
    config: Option<PathBuf>,
    /// Address to listen on; port 0 picks a free one.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Where everything durable is kept.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Where plugins are dropped into.
    #[arg(long)]
    plugin_dir: Option<PathBuf>,
    /// For tests: time stands still until POST /-/test/clock moves it.
    #[arg(long)]
    manual_clock: bool,
    /// After a loss of derived state and of its checkpoints: begin with what the journal still holds.
    #[arg(long)]
    accept_missing_history: bool,
}

#[derive(Args)]
struct CheckConfigArgs {
    /// The file to check; without one the DONJON_* variables are checked over the defaults.
    #[arg(env = "DONJON_CONFIG")]
    file: Option<PathBuf>,
    /// Print all keys with their defaults instead.
    #[arg(long)]
    defaults: bool,
}

#[derive(Subcommand)]
enum PluginCommand {
    /// Compile a plugin to WebAssembly. Drop the result into the plugin directory of a running server.
    #[command(after_help = "\
Takes the first way that works: the active toolchain's wasm32-unknown-unknown target; rustup adding it; a private
toolchain with its library source (`make setup` fetches one where rustup cannot).")]
    Build {
        /// Folder of the plugin's Cargo.toml.
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Where to put NAME.wasm.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Cargo's target directory for wasm32.
        #[arg(long)]
        target_dir: Option<PathBuf>,
        /// A private toolchain.
        #[arg(long, env = "DONJON_TOOLCHAIN_DIR")]
        toolchain_dir: Option<PathBuf>,
        /// Do not use the network.
        #[arg(long)]
        offline: bool,
    },
}

#[derive(Subcommand)]
enum AlertCommand {
    /// Judge alerts again that no correlator saw, or that a plugin failed on, by their positions in the journal.
    Rejudge(RejudgeArgs),
    /// Send alerts: an object, a list, or lines of JSON.
    Send {
        /// A file, or - for standard input.
        file: String,
        /// The tool whose webhook body it is: keep, prometheus, alertmanager, grafana.
        #[arg(long)]
        provider: Option<String>,
        /// Wait until they are applied and print the outcome of each.
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        client: ClientOptions,
        /// How to print.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
}

#[derive(Args)]
struct RejudgeArgs {
    /// First position in the journal: `journal_position` of the first alert that carries a reason (GET /alerts).
    #[arg(long)]
    from: u64,
    /// Last position; beyond the end of the journal means up to its end.
    #[arg(long)]
    to: u64,
    /// Also alerts that were judged.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    client: ClientOptions,
}

#[derive(Subcommand)]
enum IncidentCommand {
    /// List incidents.
    List {
        /// Only this status; may be repeated.
        #[arg(long)]
        status: Vec<String>,
        /// Only this severity; may be repeated.
        #[arg(long)]
        severity: Vec<String>,
        /// Incidents waiting for approval.
        #[arg(long)]
        candidates: bool,
        /// Most incidents.
        #[arg(long, default_value_t = 25)]
        limit: usize,
        #[command(flatten)]
        client: ClientOptions,
        /// How to print.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Show an incident with its alerts and the reason why each belongs to it.
    Show {
        /// The incident's id.
        id: String,
        #[command(flatten)]
        client: ClientOptions,
        /// How to print.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
}

#[derive(Subcommand)]
enum RuleCommand {
    /// List rules with their counters.
    List {
        #[command(flatten)]
        client: ClientOptions,
        /// How to print.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Create or replace rules from JSON files, all of them in one step or none.
    ///
    /// A file holds one rule or a list, as for POST /rules. Rules are told apart by name; what a rule does not say is the
    /// default. Prints for each whether it was created, changed or unchanged. At most 1,000 rules and 1 MiB at a time.
    Apply {
        /// Files, directories (their .json files), or - for standard input.
        #[arg(required = true)]
        files: Vec<String>,
        #[command(flatten)]
        client: ClientOptions,
    },
}

/// Runs the command line.
pub fn run() -> ExitCode {
    match dispatch(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::nobody_reads(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("donjon: {error:#}");
            let wrong = error.is::<WrongInput>()
                || error.is::<config::ConfigError>()
                || error.is::<serve::WrongSetUp>()
                || error.downcast_ref().is_some_and(Answered::is_wrong_input);
            ExitCode::from(if wrong { 2 } else { 1 })
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(args) => {
            let options = serve::RunOptions {
                config_file: args.config.clone(),
                manual_clock: args.manual_clock,
                accept_missing_history: args.accept_missing_history,
            };
            serve::run(effective(args)?, options)
        }
        Command::CheckConfig(args) => check_config(&args),
        Command::Plugin(PluginCommand::Build {
            dir,
            out,
            target_dir,
            toolchain_dir,
            offline,
        }) => {
            let options = plugin_build::BuildOptions {
                manifest_dir: dir,
                out_dir: out,
                target_dir,
                toolchain_dir,
                offline,
            };
            let path = plugin_build::build(&options, &mut |line| eprintln!("{line}"))?;
            output::say(path.display())
        }
        Command::Alert(AlertCommand::Send {
            file,
            provider,
            wait,
            client,
            output,
        }) => alert::send(&client, &file, provider.as_deref(), wait, output),
        Command::Alert(AlertCommand::Rejudge(args)) => alert::rejudge(&args.client, args.from, args.to, args.all),
        Command::Incident(IncidentCommand::List {
            status,
            severity,
            candidates,
            limit,
            client,
            output,
        }) => incident::list(
            &client,
            &incident::ListFilter {
                status,
                severity,
                candidates,
                limit,
            },
            output,
        ),
        Command::Incident(IncidentCommand::Show { id, client, output }) => incident::show(&client, &id, output),
        Command::Rule(RuleCommand::List { client, output }) => rule::list(&client, output),
        Command::Rule(RuleCommand::Apply { files, client }) => rule::apply(&client, &files),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "donjon", &mut script);
            output::say(String::from_utf8_lossy(&script).trim_end())
        }
        Command::Version => output::say(format_args!("donjon {}", env!("CARGO_PKG_VERSION"))),
    }
}

/// The configuration with the flags laid over it.
fn effective(args: ServeArgs) -> anyhow::Result<Config> {
    let mut config = config::load(args.config.as_deref())?;
    if let Some(listen) = args.listen {
        config.server.listen = listen;
    }
    if let Some(dir) = args.data_dir {
        config.storage.data_dir = dir;
    }
    if let Some(dir) = args.plugin_dir {
        config.plugin_host.dir = dir;
    }
    config.check()?;
    Ok(config)
}

fn check_config(args: &CheckConfigArgs) -> anyhow::Result<()> {
    if args.defaults {
        return output::say(config::REFERENCE.trim_end());
    }
    let config = config::load(args.file.as_deref())?;
    for warning in check_config::warnings(&config) {
        eprintln!("warning: {warning}");
    }
    eprintln!("memory: {}", serve::MemorySum::of(&config).told());
    match &args.file {
        Some(file) => output::say(format_args!("{}: fine", file.display())),
        None => output::say("defaults and DONJON_* variables: fine"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
