//! Plugins as files in a directory: found, loaded, replaced and unloaded while the server runs. Takes its settings as
//! arguments and knows neither the configuration file nor HTTP nor the store; what runs in a plugin is the runtime's.

mod directory;
mod keeper;
mod loader;
mod options;
mod settle;
mod status;
#[cfg(test)]
mod tests;
mod watch;

pub use directory::PluginDirectory;
pub use options::{PluginConfig, PluginEvent, PluginOptions, PluginPolicy, Preconfigure};
pub use status::PluginStatus;
