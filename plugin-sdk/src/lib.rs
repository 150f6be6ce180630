//! What plugin authors depend on: one trait a role, plain Rust types, the capabilities of the host, one export macro.
//!
//! It must not know the host: the only thing that the two share is the contract in `wit/`. Everything here compiles
//! natively as well, where the capabilities are answered by [`testing`], so that the logic of a plugin is tested
//! without a wasm toolchain.
//!
//! ```
//! use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin, Verdict};
//!
//! struct ByName;
//!
//! impl Plugin for ByName {
//!     fn describe() -> Description {
//!         Description::new("by-name", "1.0.0", "One incident for each alert name.")
//!             .wants_fields(["name"])
//!             .stateless()
//!             .policy("same-name", r#"{"ruleName": "Same name", "timeframeInSeconds": 600}"#)
//!     }
//!
//!     fn init(_config: &str) -> Result<Self, Error> {
//!         Ok(ByName)
//!     }
//! }
//!
//! impl Correlator for ByName {
//!     fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
//!         let mut findings = Findings::default();
//!         for (alert, row) in batch.indexed_rows() {
//!             if let Some(name) = row.first().and_then(|value| value.as_text()) {
//!                 findings.verdicts.push(Verdict::new(alert, "same-name", [name]).reading([0]));
//!             }
//!         }
//!         Ok(findings)
//!     }
//! }
//!
//! donjon_plugin::export!(ByName as correlator);
//! ```

// The export macros name this crate absolutely, here as in the crates of plugins.
extern crate self as donjon_plugin;

#[cfg(target_family = "wasm")]
mod bindings;
#[cfg(target_family = "wasm")]
mod glue;

mod export;
mod host;
mod lifecycle;
mod roles;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod types;

pub use host::{blob, clock, config, elasticsearch, history, kv, log, progress, topology};
pub use lifecycle::{Description, Plugin, Policy, Wants};
pub use roles::archive::{Archiver, Hit, Item, ItemOutcome, Order, Page, Query};
pub use roles::commands::{Command, Exporter};
pub use roles::correlation::{
    Accepted, Access, Correlator, Diagnostic, Findings, OnMissingGroup, Rule, RuleFailure, RuleOutcome, RuleReport,
    Verdict,
};
pub use roles::enrichment::{Change, Enricher, Patch};
pub use types::{AlertKey, Batch, Document, Error, Scalar, Timestamp};

/// What the expansion of [`export!`] needs. No part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::export::{archiver, correlator, enricher, exporter};
    #[cfg(target_family = "wasm")]
    pub use crate::{
        bindings::{archive, commands, correlation, enrichment, lifecycle},
        glue::Held,
    };
    #[cfg(target_family = "wasm")]
    pub use wit_bindgen;
}
