//! The life cycle of files with a loader that needs no components, and, where guests are built, with real ones.

mod components;
mod life_cycle;
