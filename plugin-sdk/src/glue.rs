//! Between the generated bindings and the traits of the roles: holds the one instance of the plugin and hands calls on.
//!
//! It must not know any plugin: `export!` writes the cell that holds it, because a generic item cannot own a static.

use std::sync::Once;

use crate::bindings::{archive, commands, correlation, enrichment, lifecycle};
use crate::{
    Archiver, Batch, Command, Correlator, Description, Enricher, Error, Exporter, Item, ItemOutcome, Page, Patch,
    Plugin, Policy, Query, Rule, RuleReport, Timestamp, Wanted, host, wire,
};

/// The cell with the one instance of a plugin. Implemented by `export!`.
pub trait Held: 'static {
    /// What is held.
    type Plugin: Plugin;
    /// Hold an instance.
    fn hold(plugin: Self::Plugin);
    /// Use it; none before `init`.
    fn with<R>(call: impl FnOnce(&mut Self::Plugin) -> R) -> Option<R>;

    /// Use it; an error before `init`.
    fn call<R>(call: impl FnOnce(&mut Self::Plugin) -> Result<R, Error>) -> Result<R, Error> {
        Self::with(call).unwrap_or_else(|| Err(Error::other("called before a successful init")))
    }
}

/// A panic ends in a trap without a word; this makes the host's log say where and why.
fn report_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|panic| host::log::error(panic.to_string()))));
}

impl<H: Held> lifecycle::exports::donjon::plugin::lifecycle::Guest for H {
    fn describe() -> Description {
        report_panics();
        H::Plugin::describe()
    }

    fn init(tenant: String, config: String) -> Result<(), Error> {
        report_panics();
        H::Plugin::init(&tenant, &config).map(H::hold)
    }
}

impl<H: Held<Plugin: Correlator>> correlation::exports::donjon::plugin::correlation::Guest for H {
    fn wants() -> Wanted {
        H::with(|plugin| Correlator::wants(plugin)).unwrap_or_default()
    }

    fn rule_kinds() -> Vec<String> {
        H::with(|plugin| plugin.rule_kinds()).unwrap_or_default()
    }

    fn policies() -> Result<Vec<Policy>, Error> {
        H::call(|plugin| plugin.policies())
    }

    fn configure(changed: Vec<Rule>, in_force: Vec<u32>) -> Result<Vec<RuleReport>, Error> {
        H::call(|plugin| plugin.configure(changed, &in_force))
    }

    fn correlate(batch: wire::Batch) -> Result<wire::Findings, Error> {
        let batch = Batch::from_wire(batch)?;
        H::call(|plugin| plugin.correlate(&batch)).map(|findings| findings.into_wire(&batch))
    }
}

impl<H: Held<Plugin: Enricher>> enrichment::exports::donjon::plugin::enrichment::Guest for H {
    fn wants() -> Wanted {
        H::with(|plugin| Enricher::wants(plugin)).unwrap_or_default()
    }

    fn enrich(batch: wire::Batch) -> Result<Vec<Patch>, Error> {
        let batch = Batch::from_wire(batch)?;
        H::call(|plugin| plugin.enrich(&batch))
    }
}

impl<H: Held<Plugin: Archiver>> archive::exports::donjon::plugin::archive::Guest for H {
    fn write(items: Vec<Item>) -> Result<Vec<ItemOutcome>, Error> {
        H::call(|plugin| plugin.write(items))
    }

    fn search(query: Query) -> Result<Page, Error> {
        H::call(|plugin| plugin.search(query))
    }

    fn count(query: Query) -> Result<u64, Error> {
        H::call(|plugin| plugin.count(query))
    }

    fn maintain(now: Timestamp) -> Result<String, Error> {
        H::call(|plugin| plugin.maintain(now))
    }
}

impl<H: Held<Plugin: Exporter>> commands::exports::donjon::plugin::commands::Guest for H {
    fn list_commands() -> Vec<Command> {
        H::with(|plugin| plugin.commands()).unwrap_or_default()
    }

    fn run(command: String, arguments: String) -> Result<String, Error> {
        H::call(|plugin| plugin.run(&command, &arguments))
    }
}
