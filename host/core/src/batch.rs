//! What goes to a plugin and what comes back, in the words of the domain. Knows nothing of components: the runtime
//! converts to and from the contract (`wit/`). The alerts themselves are in `flat_batch.rs`.

use std::sync::Arc;

use crate::ids::{RuleId, TenantId, Timestamp};
use crate::limits::cut;
use crate::value::{JsonText, Value};

pub use crate::flat_batch::{Batch, BatchBuilder, BatchMark, Cell, Pieces, piece, range};

/// The value of one column of one alert.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// Absent or JSON null.
    Null,
    /// A JSON boolean.
    Bool(bool),
    /// A whole number that fits.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(String),
    /// A list or an object, as JSON text.
    Json(String),
}

/// What a plugin wants to be handed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Only these attribute paths.
    Fields(Vec<String>),
    /// The whole canonical JSON.
    Documents,
}

/// What to do when an attribute that a rule groups by is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMissingGroup {
    /// Group under the single value `none`.
    #[default]
    None,
    /// The rule does not apply.
    Skip,
}

/// A rule as a correlator needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec {
    /// Named in verdicts.
    pub id: RuleId,
    /// Counts changes.
    pub version: u32,
    /// For people.
    pub name: String,
    /// The condition.
    pub condition: String,
    /// Attribute paths to group by.
    pub group_by: Vec<String>,
    /// What to do when one is absent.
    pub on_missing_group: OnMissingGroup,
    /// For multi-level rules.
    pub multi_level_property: Option<String>,
}

/// What a correlator made of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleReport {
    /// The rule.
    pub rule: RuleId,
    /// Taken, or the reasons why not.
    pub outcome: Result<AcceptedRule, Vec<Diagnostic>>,
}

/// A rule that a correlator took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptedRule {
    /// The text of each branch.
    pub branches: Vec<String>,
    /// The attribute paths the rule reads.
    pub columns: Vec<String>,
    /// Whether an index leads alerts to it; otherwise every alert is looked at.
    pub indexed: bool,
}

/// Where and why a condition was refused; line and column count from 1, 0 is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong.
    pub message: String,
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

/// One alert belongs to one group of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Position in the batch.
    pub alert: usize,
    /// A rule, or a policy of the plugin.
    pub rule: RuleId,
    /// The group.
    pub group_key: Vec<String>,
    /// The branches that matched.
    pub branches: Vec<u32>,
    /// Positions of the columns that those branches read.
    pub read: Vec<u32>,
}

/// A rule could not be evaluated for an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFailure {
    /// Position in the batch.
    pub alert: usize,
    /// The rule.
    pub rule: RuleId,
    /// What went wrong.
    pub message: String,
}

/// The answer of a correlator to a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// In any order.
    pub verdicts: Vec<Verdict>,
    /// At most one a rule and alert.
    pub failures: Vec<RuleFailure>,
}

/// One change of one alert, proposed by an enricher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Set the attribute at a dotted path to a JSON value, given as text.
    Set {
        /// Dotted path.
        path: String,
        /// JSON text.
        json: String,
    },
    /// Remove the attribute at a dotted path.
    Remove {
        /// Dotted path.
        path: String,
    },
}

/// The changes of one alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// Position in the batch.
    pub alert: usize,
    /// In order.
    pub changes: Vec<Change>,
}

/// The data of one plugin for one tenant. Another tenant's of the same plugin, and another plugin's for the same tenant,
/// are other spaces: they share no key, no limit and no usage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KvSpace {
    /// Whose alerts it is about.
    pub tenant: TenantId,
    /// The name that the plugin is loaded under.
    pub plugin: Arc<str>,
}

impl KvSpace {
    /// The space of a plugin and a tenant.
    #[must_use]
    pub fn new(plugin: &str, tenant: &TenantId) -> KvSpace {
        KvSpace {
            tenant: tenant.clone(),
            plugin: plugin.into(),
        }
    }
}

impl std::fmt::Display for KvSpace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "plugin {} for tenant {}", self.plugin, self.tenant)
    }
}

/// One write of a plugin to its own key-value data; committed with the batch (I2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvWrite {
    /// The key, within the space.
    pub key: String,
    /// The new value, or none to remove it.
    pub value: Option<KvValue>,
}

/// A stored value of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KvValue {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Counts the writes of the key since it was absent, from 1.
    pub version: u64,
    /// For alerts that were accepted at or after this time it is absent.
    pub expires: Option<Timestamp>,
}

/// What a space holds, or a part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KvUsage {
    /// Keys with a value, those included that expired and are not yet removed.
    pub keys: u64,
    /// Bytes of these keys and their values.
    pub bytes: u64,
}

impl KvUsage {
    /// What one key takes.
    #[must_use]
    pub fn of(key: &str, value: Option<&KvValue>) -> KvUsage {
        let bytes = |value: &KvValue| KvUsage {
            keys: 1,
            bytes: (key.len() + value.bytes.len()) as u64,
        };
        value.map_or_else(KvUsage::default, bytes)
    }

    /// With `old` gone from it, and `new` in its place.
    #[must_use]
    pub fn replacing(self, old: KvUsage, new: KvUsage) -> KvUsage {
        KvUsage {
            keys: self.keys.saturating_add(new.keys).saturating_sub(old.keys),
            bytes: self.bytes.saturating_add(new.bytes).saturating_sub(old.bytes),
        }
    }
}

/// A column that a plugin reads: its dotted path, split once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// As the plugin named it.
    pub name: String,
    /// Its keys.
    pub path: Vec<String>,
}

impl Column {
    /// Splits a dotted path.
    #[must_use]
    pub fn new(name: &str) -> Column {
        Column {
            name: name.to_owned(),
            path: crate::value::split_path(name),
        }
    }

    /// The value of the column for one alert, and whether it is longer than so many bytes: then it is text, the beginning
    /// of what it says.
    #[must_use]
    pub fn of(&self, attributes: &crate::value::Object, most_bytes: usize, json_text: JsonText) -> (Scalar, bool) {
        scalar_of(attributes.at(&self.path), most_bytes, json_text)
    }
}

/// A scalar for the value at a path, and whether it is cut. `json_text` prints lists and objects: the printer lives at the
/// border.
#[must_use]
pub fn scalar_of(value: Option<&Value>, most_bytes: usize, json_text: JsonText) -> (Scalar, bool) {
    let whole = match value {
        None | Some(Value::Null) => Scalar::Null,
        Some(Value::Bool(b)) => Scalar::Bool(*b),
        Some(Value::Int(i)) => Scalar::Int(*i),
        Some(Value::Float(f)) => Scalar::Float(*f),
        Some(Value::Text(text)) => {
            let kept = cut(text, most_bytes);
            return (Scalar::Text(kept.to_owned()), kept.len() < text.len());
        }
        Some(other) => {
            let json = json_text(other, most_bytes);
            if json.len() > most_bytes {
                return (Scalar::Text(cut(&json, most_bytes).to_owned()), true);
            }
            Scalar::Json(json)
        }
    };
    (whole, false)
}
