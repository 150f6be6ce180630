//! What every plugin has: a description, a beginning, and a state worth handing on.
//!
//! It must not know the roles; those are in `roles/`.

use crate::Error;

/// What the plugin wants to be handed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Only these attribute paths, parsed once by the host. A correlator that takes rules adds the paths its rules read
    /// through its reports.
    Fields(Vec<String>),
    /// The whole canonical JSON of each alert, untouched.
    Documents,
}

/// A correlation policy that a correlator brings along instead of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Named in the verdicts of this plugin.
    pub id: String,
    /// JSON with the fields of a rule (`ruleName`, `timeframeInSeconds`, `createOn`, ...), without a condition.
    pub settings: String,
}

/// What the plugin is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The name of the plugin for people.
    pub name: String,
    /// The version of the plugin.
    pub version: String,
    /// One sentence.
    pub about: String,
    /// What it wants to be handed.
    pub wants: Wants,
    /// True if no call depends on an earlier one, so that calls may run in parallel on several instances.
    pub stateless: bool,
    /// True for a correlator that takes the rules of the host through `configure`.
    pub takes_rules: bool,
    /// The policies of a correlator that brings its own.
    pub policies: Vec<Policy>,
}

impl Description {
    /// A stateful plugin that is handed no attributes; the other methods add to it.
    pub fn new(name: impl Into<String>, version: impl Into<String>, about: impl Into<String>) -> Self {
        Description {
            name: name.into(),
            version: version.into(),
            about: about.into(),
            wants: Wants::Fields(Vec::new()),
            stateless: false,
            takes_rules: false,
            policies: Vec::new(),
        }
    }

    /// Ask for attribute paths, parsed once by the host.
    #[must_use]
    pub fn wants_fields<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.wants = Wants::Fields(paths.into_iter().map(Into::into).collect());
        self
    }

    /// Ask for the whole JSON of each alert.
    #[must_use]
    pub fn wants_documents(mut self) -> Self {
        self.wants = Wants::Documents;
        self
    }

    /// No call depends on an earlier one: the host may run several instances at once.
    #[must_use]
    pub fn stateless(mut self) -> Self {
        self.stateless = true;
        self
    }

    /// A correlator that takes the rules of the host.
    #[must_use]
    pub fn takes_rules(mut self) -> Self {
        self.takes_rules = true;
        self
    }

    /// Add a policy; `settings` is JSON with the fields of a rule, without a condition.
    #[must_use]
    pub fn policy(mut self, id: impl Into<String>, settings: impl Into<String>) -> Self {
        self.policies.push(Policy {
            id: id.into(),
            settings: settings.into(),
        });
        self
    }
}

/// The part that all roles share.
pub trait Plugin: Sized {
    /// What the plugin is. Called first, before `init`, without any capability.
    fn describe() -> Description;

    /// Begin, with the configuration of the plugin as JSON.
    fn init(config: &str) -> Result<Self, Error>;

    /// State worth handing to the next version; empty, the default, for none.
    fn snapshot(&self) -> Result<Vec<u8>, Error> {
        Ok(Vec::new())
    }

    /// Take over the state of the version before. Called after `init`, only when there is one; ignores it by default.
    fn restore(&mut self, state: &[u8]) -> Result<(), Error> {
        let _ = state;
        Ok(())
    }
}
