//! The life cycle of files, with a loader that needs no components; real ones are in the integration tests.

mod fixture;
mod life_cycle;
mod promises;
