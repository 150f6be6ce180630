//! The rules plugin: judges alerts by the conditions that operators write (CEL) and names the groups they belong to.
//!
//! It must not know incidents: thresholds, windows and states stay in the host. What is here is only wiring:
//! `rule_set` compiles rules, `columns` finds their attributes in a batch, `judge` evaluates, `group` names groups.

mod columns;
mod group;
mod judge;
mod plugin;
mod rule_set;
#[cfg(test)]
mod tests;

pub use plugin::Rules;

#[cfg(feature = "component")]
donjon_plugin::export!(Rules as correlator);
