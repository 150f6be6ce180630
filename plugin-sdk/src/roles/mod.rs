//! The roles that a plugin can have: one trait each, with the types of its calls.
//!
//! They must not know how a call travels; that is `glue` and `bindings`.

pub(crate) mod archive;
pub(crate) mod commands;
pub(crate) mod correlation;
pub(crate) mod enrichment;
