//! What the host can do for a plugin. One module is one capability that the operator grants by its name; a capability
//! that a plugin does not call is not among its imports.
//!
//! These modules must not know who answers: in a guest it is the host, natively it is [`crate::testing`].

#[cfg(target_family = "wasm")]
use crate::bindings::capabilities::donjon::host as backend;
#[cfg(not(target_family = "wasm"))]
use crate::testing::backend;

pub mod blob;
pub mod config;
pub mod elasticsearch;
pub mod history;
pub mod kv;
pub mod log;
pub mod progress;
pub mod topology;
