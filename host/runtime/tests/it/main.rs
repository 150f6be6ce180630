//! What a plugin file has to go through, and what a running plugin cannot do, seen from outside with real components.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "what fails here fails a test"
)]

mod before_compiling;
mod calls;
mod guests;
mod loading;
mod memory;
mod refused_rules;
mod told_limits;
mod wasi;
