//! The exporter: runs commands for a person, with progress, and with large data in pieces through `blob`.

use crate::lifecycle::Plugin;
use crate::types::Error;

/// One command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Command {
    /// Its name on the command line.
    pub name: String,
    /// One sentence.
    pub about: String,
    /// A JSON schema of its arguments.
    pub arguments: String,
}

/// A plugin that runs commands.
pub trait Exporter: Plugin {
    /// What can be run.
    fn commands(&self) -> Vec<Command>;

    /// Run a command with JSON arguments; answers a JSON report.
    fn run(&mut self, command: &str, arguments: &str) -> Result<String, Error>;
}
