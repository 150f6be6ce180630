//! What people tell the engine. A command is an entry of the journal like an alert (I3) and is answered once applied.

use crate::ids::{IncidentId, RuleId, Seq, Timestamp};
use crate::incident::IncidentStatus;
use crate::rule::RuleDraft;

/// One command.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Create a rule under an identifier drawn at the border.
    CreateRule {
        /// The new identifier.
        id: RuleId,
        /// What it says.
        draft: Box<RuleDraft>,
    },
    /// Replace what a rule says.
    UpdateRule {
        /// The rule.
        id: RuleId,
        /// What it says from now on.
        draft: Box<RuleDraft>,
    },
    /// Delete a rule; its incidents stay.
    DeleteRule {
        /// The rule.
        id: RuleId,
    },
    /// Set the status of an incident.
    SetIncidentStatus {
        /// The incident.
        incident: IncidentId,
        /// The new status.
        status: IncidentStatus,
    },
    /// Make a candidate visible.
    ConfirmIncident {
        /// The incident.
        incident: IncidentId,
    },
    /// Put dead letters away; all of them if none is named.
    DismissDeadLetters {
        /// Their positions in the journal.
        seqs: Option<Vec<u64>>,
    },
    /// Create rules that are new by name and change those that are known, all of them or none.
    ApplyRules {
        /// What they say, each with the identifier that it gets if it is new.
        rules: Vec<(RuleId, RuleDraft)>,
    },
    /// Judge alerts of a range of the journal again: those that a plugin did not see or failed on, by their newest event.
    Rejudge {
        /// The first position.
        from: Seq,
        /// The last position.
        to: Seq,
        /// Those that were judged, too.
        all: bool,
    },
}

/// When a command is applied. Decided where it is applied, in the order of the journal: nothing comes in between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Not if it was before.
    pub once: Option<CommandKey>,
    /// Only if its sender has seen what it changes.
    pub only_if: Option<Condition>,
}

/// How a command is known again when its sender, who got no answer, sends it once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandKey {
    /// The digest of the key that the sender drew.
    pub key: [u8; 32],
    /// The digest of all that the sender asked for: another request under the same key is a mistake.
    pub request: [u8; 32],
}

/// What must be true of committed state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Of one rule.
    Rule {
        /// Which.
        id: RuleId,
        /// What.
        is: RuleIs,
    },
    /// The rules of the tenant were changed so many times.
    RulesVersion(u64),
}

/// What must be true of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleIs {
    /// It is there.
    Present,
    /// It is not there.
    Absent,
    /// It is of one of these versions.
    OneOf(Vec<u32>),
}

/// A command that was given with a key, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct RememberedCommand {
    /// Its key.
    pub key: CommandKey,
    /// How many keys the tenant used before it.
    pub number: u64,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// What was answered.
    pub outcome: CommandOutcome,
}

/// What became of one rule of many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedRule {
    /// The rule.
    pub id: RuleId,
    /// Its version from now on.
    pub version: u32,
    /// What was done.
    pub change: RuleChange,
}

/// What was done to a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleChange {
    /// It is new.
    Created,
    /// It says something else.
    Changed,
    /// It said the same before.
    Unchanged,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandOutcome {
    /// Applied; the caller reads the result from committed state.
    Applied,
    /// A rule is stored.
    RuleStored {
        /// Which: when it is answered again, its sender may have drawn another identifier.
        id: RuleId,
        /// As which version.
        version: u32,
    },
    /// The rules are stored, in the order in which they were given.
    RulesApplied(Vec<AppliedRule>),
    /// What its sender has seen is not what is there any more, but this version of it.
    ConditionFailed(u64),
    /// Another command was given with the same key.
    KeyReused,
    /// The rule does not exist.
    RuleNotFound,
    /// A rule with this identifier exists, or did before it was deleted.
    RuleExists,
    /// The incident does not exist.
    IncidentNotFound,
    /// The incident is not waiting for approval.
    NotACandidate,
    /// So many alerts were judged again.
    Rejudged(u64),
    /// What it would make cannot be stored: it is stopped, and kept as a dead letter.
    NotStorable {
        /// Which record, and why.
        why: String,
    },
}

/// A rejected item, kept for people.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// Why.
    pub reason: String,
    /// When.
    pub accepted: Timestamp,
    /// The provider it was sent to.
    pub provider: String,
}
