//! What plugin authors depend on: one trait a role, plain Rust types, the capabilities of the host, one export macro.
//!
//! It must not know the host: the only thing that the two share is the contract in `wit/`. Everything here compiles
//! natively as well, where the capabilities are answered by [`testing`], so that the logic of a plugin is tested
//! without a wasm toolchain.
//!
//! ```
//! use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin, Policy, Wanted, policy};
//!
//! struct ByName;
//!
//! impl Plugin for ByName {
//!     fn describe() -> Description {
//!         Description::new("by-name", "1.0.0", "One incident for each alert name.")
//!     }
//!
//!     fn init(_tenant: &str, _config: &str) -> Result<Self, Error> {
//!         Ok(ByName)
//!     }
//! }
//!
//! impl Correlator for ByName {
//!     fn wants(&self) -> Wanted {
//!         Wanted::columns(["name"])
//!     }
//!
//!     fn policies(&self) -> Result<Vec<Policy>, Error> {
//!         Ok(vec![Policy::new("same-name", r#"{"ruleName": "Same name", "timeframeInSeconds": 600}"#)])
//!     }
//!
//!     fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
//!         let mut findings = Findings::new();
//!         for alert in batch.alerts() {
//!             if let Some(name) = alert.text("name") {
//!                 findings.verdict(&alert, policy(0)).group([name]).reading(["name"]);
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

mod batch;
mod capability;
mod export;
mod findings;
mod host;
mod lifecycle;
mod roles;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod types;
#[doc(hidden)]
pub mod wire;

pub use batch::{Alert, Batch, Column, TextId, Value};
pub use findings::{Findings, GroupValue, NewVerdict, Verdict, policy};
pub use host::{blob, config, elasticsearch, history, kv, log, progress, topology};
pub use lifecycle::{Description, Plugin};
pub use roles::archive::{Archiver, Hit, Item, ItemOutcome, Order, Page, Query};
pub use roles::commands::{Command, Exporter};
pub use roles::correlation::{Accepted, Correlator, Diagnostic, OnMissingGroup, Policy, Rule, RuleOutcome, RuleReport};
pub use roles::enrichment::{Change, Enricher, Patch, Setting};
pub use types::{Document, Error, Timestamp, Wanted};
pub use wire::RuleFailure;

/// The example of the front page compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct FrontPage;

/// What the expansion of [`export!`] needs. No part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::export::{archiver, correlator, enricher, exporter};
    #[cfg(target_family = "wasm")]
    pub use crate::{
        bindings::{
            archive as archiver, commands as exporter, correlation as correlator, enrichment as enricher, lifecycle,
        },
        glue::Held,
    };
    #[cfg(target_family = "wasm")]
    pub use wit_bindgen;
}
