//! What can go wrong, one enum an operation: lower case, the value last, and what to do next where somebody can do
//! something. Texts that come from a plugin are cut before they get here.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::contract_version::API_TEXT;

/// The runtime cannot be set up.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// wasmtime refuses its settings or this machine.
    #[error("the WebAssembly engine does not start on this machine: {0}")]
    Engine(String),
    /// No thread for the clock that interrupts plugins.
    #[error("cannot start the thread that interrupts plugins: {0}")]
    Ticker(std::io::Error),
    /// The cache directory cannot be used.
    #[error("cannot use the directory for compiled plugins, check its owner and permissions: {}: {cause}", path.display())]
    Cache {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
}

/// A step on the way from a compiled file to a plugin that serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartStep {
    /// Memory is made and the start function runs.
    Instantiate,
    /// It is asked what it is.
    Describe,
    /// It is given its configuration.
    Init,
    /// It is asked what it wants to be handed, and which kinds of rules it takes.
    Wants,
    /// It is asked for its policies.
    Policies,
    /// It is given the rules that the instance before had.
    Configure,
}

impl std::fmt::Display for StartStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            StartStep::Instantiate => "instantiate",
            StartStep::Describe => "describe",
            StartStep::Init => "init",
            StartStep::Wants => "wants",
            StartStep::Policies => "policies",
            StartStep::Configure => "configure",
        })
    }
}

/// A file does not become a plugin.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Nothing in it.
    #[error("the file is empty; it may still be copied")]
    Empty,
    /// Over the limit.
    #[error("the file is larger than the limit of {limit} bytes: {bytes} bytes")]
    TooLarge {
        /// The limit.
        limit: usize,
        /// The size.
        bytes: usize,
    },
    /// Machine code would run without any check.
    #[error("precompiled files are refused; provide the .wasm file that it was made from")]
    Precompiled,
    /// Not WebAssembly, or cut short.
    #[error("not a complete WebAssembly file; copy it again, or build it with `donjon plugin build`: {0}")]
    Invalid(String),
    /// A plain core module without the description of its interface.
    #[error("a core module without a component-type section; build it with the Donjon plugin SDK")]
    NoComponentType,
    /// wit-component refuses the module.
    #[error("the module cannot be made a component; rebuild it with `donjon plugin build`: {0}")]
    Encode(String),
    /// wasmtime refuses the component.
    #[error("the component cannot be compiled: {0}")]
    Compile(String),
    /// A component of another kind.
    #[error("not a Donjon plugin: it exports nothing of donjon:plugin")]
    NotAPlugin,
    /// Another version of the contract.
    #[error(
        "the plugin speaks another version of the contract than {supported}; rebuild it with this version's SDK: {found}"
    )]
    ApiVersion {
        /// What this host speaks.
        supported: &'static str,
        /// What the plugin exports.
        found: String,
    },
    /// The interface that every plugin exports is missing.
    #[error("the plugin does not export donjon:plugin/lifecycle")]
    NoLifecycle,
    /// No role.
    #[error("the plugin exports no role: one of correlation, enrichment, archive or commands of donjon:plugin")]
    NoRole,
    /// Imports that the operator has not granted.
    #[error(
        "the plugin needs a capability that is not granted; add {} to `grants` of [plugins.{plugin}], as in `grants = [{}]`, then POST /plugins/reload: {}",
        quoted(grants), quoted(grants), interfaces.join(", ")
    )]
    NotGranted {
        /// The imports.
        interfaces: Vec<String>,
        /// What to write.
        grants: Vec<&'static str>,
        /// Where to write it.
        plugin: String,
    },
    /// Imports that this version does not have.
    #[error("the plugin imports what is not available in this version of Donjon{}: {}", way_out(.0), .0.join(", "))]
    NotAvailable(Vec<String>),
    /// The machine has no memory, addresses or descriptors left for its code.
    #[error("the system has no room for the plugin's code now; raise `ulimit -v` or LimitAS, or free memory: {0}")]
    NoRoom(String),
    /// The types of imports or exports differ from the contract.
    #[error("the plugin does not fit the contract of this version; rebuild it with this version's SDK: {0}")]
    Contract(String),
    /// What it says about itself is over a limit, or beyond this version.
    #[error("the plugin asks for what it cannot have; change what it says of itself: {0}")]
    Description(String),
    /// A call at start failed.
    #[error("the plugin failed in `{step}`: {cause}{}", advice(cause))]
    Start {
        /// Which call.
        step: StartStep,
        /// How.
        cause: CallError,
    },
}

impl LoadError {
    /// Whether the bytes of the file are the reason, so that trying again is no use before the file, or the
    /// configuration, has changed. Everything else may be otherwise in a moment: the machine was busy, own data could
    /// not be read, descriptors or memory were short.
    #[must_use]
    pub fn is_about_the_file(&self) -> bool {
        match self {
            LoadError::NoRoom(_) => false,
            LoadError::Start { cause, .. } => match cause {
                CallError::Misfit(_) => true,
                CallError::Refused { kind, .. } => matches!(kind, RefusalKind::Invalid | RefusalKind::Denied),
                _ => false,
            },
            _ => true,
        }
    }
}

fn quoted(grants: &[&str]) -> String {
    let quoted: Vec<String> = grants.iter().map(|grant| format!("\"{grant}\"")).collect();
    quoted.join(", ")
}

/// What to do about interfaces that nobody can grant.
fn way_out(interfaces: &[String]) -> &'static str {
    match interfaces.iter().any(|name| name.starts_with("wasi:")) {
        true => {
            "; of WASI only 0.2 is here: take the newest componentize-py or jco 1.35, or build without it (Rust: `donjon plugin build`)"
        }
        false => "; no grant helps, import only what the plugin uses",
    }
}

/// What an operator can do about a failed start.
fn advice(cause: &CallError) -> &'static str {
    match cause {
        CallError::OutOfMemory { .. } => "; raise plugin_host.memory_bytes, or let the plugin take less at its start",
        _ => "",
    }
}

/// A call of a plugin failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CallError {
    /// It asked for more memory than it may have, and then gave up.
    #[error("out of memory: limit {limit} bytes")]
    OutOfMemory {
        /// The limit.
        limit: usize,
    },
    /// All plugins together have as much memory as they may, and it gave up when it was refused more.
    #[error(
        "out of memory: all plugins together have the limit of {limit} bytes; raise plugin_host.total_memory_bytes, or run fewer"
    )]
    OutOfTotalMemory {
        /// The limit.
        limit: usize,
    },
    /// It asked for larger tables than it may have, and then gave up.
    #[error("out of table elements: limit {limit}")]
    OutOfTable {
        /// The limit.
        limit: usize,
    },
    /// It computed too long.
    #[error("timed out: computed for longer than {}", ms(limit))]
    CpuTime {
        /// The limit.
        limit: Duration,
    },
    /// It took too long, mostly waiting.
    #[error("timed out: took longer than {}", ms(limit))]
    WallTime {
        /// The limit.
        limit: Duration,
    },
    /// It ended in a trap.
    #[error("trapped: {0}")]
    Trap(String),
    /// It handed over more than one answer may hold.
    #[error("answered with more than the limit of {limit} bytes")]
    TooMuchAnswered {
        /// The limit.
        limit: usize,
    },
    /// The lists of its answer do not fit together.
    #[error("answered with lists that do not fit together, a fault of its SDK: {0}")]
    Malformed(String),
    /// It answered with an error.
    #[error("answered with an error: {}", said(*kind, text, *after))]
    Refused {
        /// What to do about it.
        kind: RefusalKind,
        /// In its words.
        text: String,
        /// When to try again, if it said so.
        after: Option<Duration>,
    },
    /// There is no copy of it at the moment.
    #[error("is being started again after it broke; its newest failure: {cause}")]
    NoInstance {
        /// Why the one before is gone.
        cause: String,
    },
    /// There is no copy of it yet, and nothing broke the one before: it is new, or was let go for its memory.
    #[error("its next copy is still being made and will be used once it is there; waited for {waited:?}")]
    StillMade {
        /// How long it was waited for.
        waited: Duration,
    },
    /// Its functions have other types than those of the contract of the same number.
    #[error("built against another contract {API_TEXT}; rebuild it with this version's SDK: {0}")]
    Misfit(String),
    /// The machine has no memory, addresses or descriptors left for an instance.
    #[error(
        "the system has no room for an instance now; each one reserves some gigabytes of addresses: raise `ulimit -v` or LimitAS, or free memory: {0}"
    )]
    NoRoom(String),
    /// No instance of it can be had.
    #[error("cannot be started again in `{step}`: {cause}")]
    Restart {
        /// Which call.
        step: StartStep,
        /// How it failed.
        cause: String,
    },
    /// It is something else.
    #[error("the plugin is no {expected} but: {found}")]
    Role {
        /// What was called for.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

/// What an answered error asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// One of the alerts is wrong; trying again will not help.
    Invalid,
    /// It was refused something it needs.
    Denied,
    /// Not now.
    Retry,
    /// Something outside is not there.
    Unavailable,
    /// A limit of the host was reached.
    Quota,
    /// Anything else.
    Other,
}

fn said(kind: RefusalKind, text: &str, after: Option<Duration>) -> String {
    match (kind, after) {
        (RefusalKind::Invalid, _) => format!("invalid: {text}"),
        (RefusalKind::Denied, _) => format!("denied: {text}"),
        (RefusalKind::Retry, None) => "try again".to_owned(),
        (RefusalKind::Retry, Some(after)) => format!("try again after {}", ms(&after)),
        (RefusalKind::Unavailable, _) => format!("unavailable: {text}"),
        (RefusalKind::Quota, _) => format!("quota: {text}"),
        (RefusalKind::Other, _) => text.to_owned(),
    }
}

fn ms(duration: &Duration) -> String {
    format!("{} ms", duration.as_millis())
}

/// What to do about the alerts of a call that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Once more on another copy, then by halves: one of them may have broken it, or none.
    AgainThenHalves,
    /// By halves: one of them is to blame, or they are too many for one answer.
    Halves,
    /// By quarters, each with all the time there is: they are too many, or one of them is to blame.
    Quarters,
    /// All of them fail: it is not about them.
    FailAll,
}

impl CallError {
    /// A refusal by the host itself.
    pub(crate) fn refused(text: impl Into<String>) -> CallError {
        CallError::Refused {
            kind: RefusalKind::Other,
            text: text.into(),
            after: None,
        }
    }

    /// Whether the instance is still good: only an answer leaves it as it was.
    pub(crate) fn spares_instance(&self) -> bool {
        matches!(
            self,
            CallError::Refused { .. }
                | CallError::Role { .. }
                | CallError::NoInstance { .. }
                | CallError::StillMade { .. }
        )
    }

    /// Whether the circumstances are to blame and not the alerts: the same call may succeed later.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, CallError::OutOfTotalMemory { .. }) || matches!(self.reaction(), Reaction::FailAll)
    }

    /// Whether it took all the time it had.
    pub(crate) fn is_time_out(&self) -> bool {
        matches!(self, CallError::CpuTime { .. } | CallError::WallTime { .. })
    }

    /// When the plugin asked to be called again.
    pub(crate) fn after(&self) -> Option<Duration> {
        match self {
            CallError::Refused { after, .. } => *after,
            _ => None,
        }
    }

    pub(crate) fn reaction(&self) -> Reaction {
        match self {
            CallError::OutOfMemory { .. }
            | CallError::OutOfTotalMemory { .. }
            | CallError::OutOfTable { .. }
            | CallError::Trap(_) => Reaction::AgainThenHalves,
            CallError::TooMuchAnswered { .. } | CallError::Malformed(_) => Reaction::Halves,
            CallError::CpuTime { .. } | CallError::WallTime { .. } => Reaction::Quarters,
            CallError::Refused { kind, .. } => match kind {
                RefusalKind::Invalid | RefusalKind::Other => Reaction::Halves,
                RefusalKind::Denied | RefusalKind::Retry | RefusalKind::Unavailable | RefusalKind::Quota => {
                    Reaction::FailAll
                }
            },
            CallError::Restart { .. }
            | CallError::NoInstance { .. }
            | CallError::StillMade { .. }
            | CallError::NoRoom(_)
            | CallError::Misfit(_)
            | CallError::Role { .. } => Reaction::FailAll,
        }
    }
}
