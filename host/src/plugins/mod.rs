//! Plugins as files in a directory: found, loaded, replaced and unloaded while the server runs. Takes its settings as
//! arguments and knows neither the configuration file nor HTTP nor the store; what runs in a plugin is the runtime's.

mod attempt;
mod directory;
mod files;
mod keeper;
mod kept;
mod loader;
mod options;
mod settle;
mod status;
#[cfg(test)]
mod tests;
mod unit;
mod watch;

pub use directory::{PluginDirectory, Reloader};
pub use options::{BeforeServing, PluginConfig, PluginEvent, PluginOptions, Preconfigure};
pub use status::{PluginError, PluginStatus, Source};
pub use unit::Refusal;
