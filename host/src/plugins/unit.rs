//! What the directory needs to know of something that can serve under a name, and why a file does not become one. The
//! trait is there so that the life cycle can be tested without components. Knows neither files nor records.

use donjon_core::TenantId;
use donjon_runtime::{Plugin, Roles};

/// Something that can serve under a name.
pub trait Unit: Send + Sync + 'static {
    /// What it is.
    fn facts(&self) -> Facts;
    /// How its calls went.
    fn calls(&self) -> Calls;
}

/// What a unit is.
pub struct Facts {
    pub roles: Roles,
    pub version: String,
    pub hash: String,
    pub imports: Vec<String>,
    pub unused_grants: Vec<String>,
    pub debug_build: bool,
}

/// How the calls of a unit went.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    pub made: u64,
    pub failed: u64,
    pub newest_failure: Option<FailedCall>,
}

/// A call that failed.
#[derive(Clone, Debug)]
pub struct FailedCall {
    pub at_ms: u64,
    pub message: String,
    /// Whose alerts or rules the call was about.
    pub tenant: Option<TenantId>,
}

/// Why a file does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another file is needed, or another configuration.
    Final(String),
    /// It may be otherwise in a moment: the machine is busy, or short of something.
    ForNow(String),
    /// It did not take the rules of one tenant, who alone may read why; it may be otherwise in a moment.
    RulesOf(TenantId, String),
}

impl Refusal {
    /// Why, and what to do.
    pub fn reason(&self) -> &str {
        match self {
            Refusal::Final(reason) | Refusal::ForNow(reason) | Refusal::RulesOf(_, reason) => reason,
        }
    }

    /// Whose rules the reason may quote.
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Refusal::RulesOf(tenant, _) => Some(tenant),
            Refusal::Final(_) | Refusal::ForNow(_) => None,
        }
    }
}

impl Unit for Plugin {
    fn facts(&self) -> Facts {
        Facts {
            roles: self.roles(),
            version: self.version().to_owned(),
            hash: self.hash().to_owned(),
            imports: self.imports().to_vec(),
            unused_grants: self.unused_grants().to_vec(),
            debug_build: self.is_debug_build(),
        }
    }

    fn calls(&self) -> Calls {
        let counters = self.counters();
        Calls {
            made: counters.calls,
            failed: counters.failures,
            newest_failure: counters.last_error.map(|error| FailedCall {
                at_ms: error.at_ms,
                message: error.message,
                tenant: error.tenant,
            }),
        }
    }
}
