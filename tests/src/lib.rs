//! The harness of the integration tests and benchmarks: starts the built server as a user would, talks to it over HTTP,
//! and runs real services beside it. Knows the product only through its command line and its HTTP interface.

pub mod client;
pub mod files;
pub mod languages;
pub mod server;
pub mod services;
pub mod workload;

pub use client::{Answer, Client};
pub use server::{Server, ServerOptions};
