//! Runs plugins. The only crate that knows WebAssembly components: the rest of the host sees [`Plugin`]s that take
//! batches of the domain and hand back proposals. It knows no store, no HTTP and no configuration file, and it never
//! decides when a plugin is loaded or replaced.
//!
//! Every call has two guards (computing time and wall time) and every plugin has limits ([`Limits`], I7). A failure is a
//! value that travels with the alert (I6): [`Plugin::correlate`] and [`Plugin::enrich`] never fail as a whole.

mod answers;
mod bindings;
mod calls;
mod capabilities;
mod columns;
mod compile_cache;
mod compiled;
mod contract_version;
mod convert;
mod counters;
mod errors;
#[doc(hidden)]
pub mod fuzzing;
mod given_rules;
mod growth;
mod guard;
mod host;
mod instance;
mod intake;
mod judge;
mod kv;
mod lanes;
mod limits;
mod log_gate;
mod occurrences;
mod outcomes;
mod pace;
mod plugin;
mod plugin_set;
mod roles;
mod running;
mod runtime;
mod session;
mod spare;
mod spent;
mod ticker;
mod total_memory;
mod wasi;

pub use calls::PluginCalls;
pub use capabilities::served_capabilities;
pub use compiled::{Compiled, Examined, examine};
pub use convert::{Description, Policy};
pub use counters::{CallFailure, PluginCounters};
pub use errors::{CallError, LoadError, RefusalKind, RuntimeError, StartStep};
pub use host::{ConfigLookup, PluginConfig};
pub use kv::{KvRead, Written};
pub use limits::Limits;
pub use plugin::{Configured, CorrelateOutcome, EnrichOutcome, Plugin};
pub use plugin_set::PluginSet;
pub use roles::{Role, Roles};
pub use runtime::{Runtime, RuntimeOptions, StartOptions, hash_of};
