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

/// What became of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum CommandOutcome {
    /// Applied; the caller reads the result from committed state.
    Applied,
    /// The rule does not exist.
    RuleNotFound,
    /// A rule with this identifier exists.
    RuleExists,
    /// The incident does not exist.
    IncidentNotFound,
    /// The incident is not waiting for approval.
    NotACandidate,
    /// So many alerts were judged again.
    Rejudged(u64),
    /// What it would make cannot be stored; it is kept as a dead letter.
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
