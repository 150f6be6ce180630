//! Stored forms of what is remembered of commands that were given with a key: under the digest of the key what became of
//! the command, and under the number of the key its digest, for the order in which they are forgotten.

use bincode::{BorrowDecode, Encode};
use donjon_core::Timestamp;
use donjon_core::command::{AppliedRule, CommandKey, CommandOutcome, RememberedCommand};

use super::command::CommandKeyV1;
use super::{Kind, RecordError, codes, stored};

stored!(RememberedCommand, Kind::RememberedCommand, reads { 1 => RememberedCommandV1 }, writes 1 => RememberedCommandV1);
stored!(RememberedKey, Kind::RememberedKey, reads { 1 => RememberedKeyV1 }, writes 1 => RememberedKeyV1);

/// The digest of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RememberedKey(pub(crate) [u8; 32]);

#[derive(Encode, BorrowDecode)]
struct RememberedCommandV1<'a> {
    key: CommandKeyV1,
    number: u64,
    accepted: u64,
    outcome: OutcomeV1<'a>,
}

/// Variants are stored by their position: new ones go to the end.
#[derive(Encode, BorrowDecode)]
enum OutcomeV1<'a> {
    Applied,
    RuleStored { id: &'a str, version: u32 },
    RulesApplied(Vec<AppliedRuleV1<'a>>),
    ConditionFailed(u64),
    KeyReused,
    RuleNotFound,
    RuleExists,
    IncidentNotFound,
    NotACandidate,
    Rejudged(u64),
    NotStorable { why: &'a str },
}

#[derive(Encode, BorrowDecode)]
struct AppliedRuleV1<'a> {
    id: &'a str,
    version: u32,
    change: u8,
}

#[derive(Encode, BorrowDecode)]
struct RememberedKeyV1 {
    key: [u8; 32],
}

impl<'a> From<&'a RememberedCommand> for RememberedCommandV1<'a> {
    fn from(remembered: &'a RememberedCommand) -> Self {
        RememberedCommandV1 {
            key: CommandKeyV1::from(remembered.key),
            number: remembered.number,
            accepted: remembered.accepted.0,
            outcome: OutcomeV1::from(&remembered.outcome),
        }
    }
}

impl TryFrom<RememberedCommandV1<'_>> for RememberedCommand {
    type Error = RecordError;

    fn try_from(twin: RememberedCommandV1<'_>) -> Result<Self, RecordError> {
        Ok(RememberedCommand {
            key: CommandKey::from(twin.key),
            number: twin.number,
            accepted: Timestamp(twin.accepted),
            outcome: CommandOutcome::try_from(twin.outcome)?,
        })
    }
}

impl<'a> From<&'a CommandOutcome> for OutcomeV1<'a> {
    fn from(outcome: &'a CommandOutcome) -> Self {
        let applied = |rule: &'a AppliedRule| AppliedRuleV1 {
            id: rule.id.as_str(),
            version: rule.version,
            change: codes::rule_change::code(rule.change),
        };
        match outcome {
            CommandOutcome::Applied => OutcomeV1::Applied,
            CommandOutcome::RuleStored { id, version } => OutcomeV1::RuleStored {
                id: id.as_str(),
                version: *version,
            },
            CommandOutcome::RulesApplied(rules) => OutcomeV1::RulesApplied(rules.iter().map(applied).collect()),
            CommandOutcome::ConditionFailed(present) => OutcomeV1::ConditionFailed(*present),
            CommandOutcome::KeyReused => OutcomeV1::KeyReused,
            CommandOutcome::RuleNotFound => OutcomeV1::RuleNotFound,
            CommandOutcome::RuleExists => OutcomeV1::RuleExists,
            CommandOutcome::IncidentNotFound => OutcomeV1::IncidentNotFound,
            CommandOutcome::NotACandidate => OutcomeV1::NotACandidate,
            CommandOutcome::Rejudged(count) => OutcomeV1::Rejudged(*count),
            CommandOutcome::NotStorable { why } => OutcomeV1::NotStorable { why },
        }
    }
}

impl TryFrom<OutcomeV1<'_>> for CommandOutcome {
    type Error = RecordError;

    fn try_from(twin: OutcomeV1<'_>) -> Result<Self, RecordError> {
        let applied = |rule: AppliedRuleV1<'_>| {
            Ok(AppliedRule {
                id: rule.id.into(),
                version: rule.version,
                change: codes::rule_change::value(rule.change)?,
            })
        };
        Ok(match twin {
            OutcomeV1::Applied => CommandOutcome::Applied,
            OutcomeV1::RuleStored { id, version } => CommandOutcome::RuleStored { id: id.into(), version },
            OutcomeV1::RulesApplied(rules) => {
                CommandOutcome::RulesApplied(rules.into_iter().map(applied).collect::<Result<_, RecordError>>()?)
            }
            OutcomeV1::ConditionFailed(present) => CommandOutcome::ConditionFailed(present),
            OutcomeV1::KeyReused => CommandOutcome::KeyReused,
            OutcomeV1::RuleNotFound => CommandOutcome::RuleNotFound,
            OutcomeV1::RuleExists => CommandOutcome::RuleExists,
            OutcomeV1::IncidentNotFound => CommandOutcome::IncidentNotFound,
            OutcomeV1::NotACandidate => CommandOutcome::NotACandidate,
            OutcomeV1::Rejudged(count) => CommandOutcome::Rejudged(count),
            OutcomeV1::NotStorable { why } => CommandOutcome::NotStorable { why: why.to_owned() },
        })
    }
}

impl From<&RememberedKey> for RememberedKeyV1 {
    fn from(key: &RememberedKey) -> Self {
        RememberedKeyV1 { key: key.0 }
    }
}

impl TryFrom<RememberedKeyV1> for RememberedKey {
    type Error = RecordError;

    fn try_from(twin: RememberedKeyV1) -> Result<Self, RecordError> {
        Ok(RememberedKey(twin.key))
    }
}
