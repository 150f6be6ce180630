//! The pure domain of Donjon: what alerts, rules and incidents are and how one event changes them.
//!
//! Invariant I4: nothing in this crate reads a clock, a file, a socket or a random source; `now` and identifiers are
//! arguments. It knows neither JSON text, bytes on disk, HTTP nor components, and no type of it derives `Serialize`:
//! every border has twins of its own.

pub mod admit;
pub mod alert;
pub mod alert_state;
pub mod batch;
pub mod branch_set;
pub mod cache;
pub mod command;
pub mod digest;
pub mod enrichment;
mod flat_batch;
pub mod ids;
pub mod incident;
pub mod limits;
pub mod naming;
pub mod outbox;
pub mod rule;
pub mod settle;
pub mod state;
pub mod text;
pub mod value;
pub mod working;

pub use alert::{Alert, Event, Severity, Status};
pub use alert_state::AlertState;
pub use ids::{EventId, Fingerprint, GroupKey, IncidentId, RuleId, Seq, TenantId, Timestamp};
pub use incident::Incident;
pub use rule::Rule;
pub use value::{Object, Value};
