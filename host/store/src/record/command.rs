//! The stored form of commands and of what guards them: part of journal entries, where the block says the version.

use bincode::{BorrowDecode, Encode};
use donjon_core::command::{Command, CommandKey, Condition, Guard, RuleIs};
use donjon_core::rule::RuleDraft;
use donjon_core::{IncidentId, Seq};

use super::rule::RuleDraftV1;
use super::{RecordError, codes};

/// Variants are stored by their position: new ones go to the end.
#[derive(Encode, BorrowDecode)]
pub(crate) enum CommandV1<'a> {
    CreateRule { id: &'a str, draft: RuleDraftV1<'a> },
    UpdateRule { id: &'a str, draft: RuleDraftV1<'a> },
    DeleteRule { id: &'a str },
    SetIncidentStatus { incident: [u8; 16], status: u8 },
    ConfirmIncident { incident: [u8; 16] },
    DismissDeadLetters { seqs: Option<Vec<u64>> },
    Rejudge { from: u64, to: u64, all: bool },
    ApplyRules { rules: Vec<(&'a str, RuleDraftV1<'a>)> },
}

/// Beside a command, never around one: bytes cannot nest it.
#[derive(Encode, BorrowDecode)]
pub(crate) struct GuardV1<'a> {
    once: Option<CommandKeyV1>,
    only_if: Option<ConditionV1<'a>>,
}

/// Also part of remembered commands (`remembered.rs`): the two are frozen together.
#[derive(Clone, Copy, Encode, BorrowDecode)]
pub(super) struct CommandKeyV1 {
    key: [u8; 32],
    request: [u8; 32],
}

/// Variants are stored by their position: new ones go to the end.
#[derive(Encode, BorrowDecode)]
enum ConditionV1<'a> {
    RulePresent { id: &'a str },
    RuleAbsent { id: &'a str },
    RuleOneOf { id: &'a str, versions: Vec<u32> },
    RulesVersion(u64),
}

impl From<CommandKey> for CommandKeyV1 {
    fn from(CommandKey { key, request }: CommandKey) -> Self {
        CommandKeyV1 { key, request }
    }
}

impl From<CommandKeyV1> for CommandKey {
    fn from(CommandKeyV1 { key, request }: CommandKeyV1) -> Self {
        CommandKey { key, request }
    }
}

impl<'a> From<&'a Guard> for GuardV1<'a> {
    fn from(guard: &'a Guard) -> Self {
        let condition = |condition: &'a Condition| match condition {
            Condition::RulesVersion(version) => ConditionV1::RulesVersion(*version),
            Condition::Rule { id, is } => match is {
                RuleIs::Present => ConditionV1::RulePresent { id: id.as_str() },
                RuleIs::Absent => ConditionV1::RuleAbsent { id: id.as_str() },
                RuleIs::OneOf(versions) => ConditionV1::RuleOneOf {
                    id: id.as_str(),
                    versions: versions.clone(),
                },
            },
        };
        GuardV1 {
            once: guard.once.map(CommandKeyV1::from),
            only_if: guard.only_if.as_ref().map(condition),
        }
    }
}

impl From<GuardV1<'_>> for Guard {
    fn from(twin: GuardV1<'_>) -> Self {
        let rule = |id: &str, is| Condition::Rule { id: id.into(), is };
        let condition = |condition| match condition {
            ConditionV1::RulePresent { id } => rule(id, RuleIs::Present),
            ConditionV1::RuleAbsent { id } => rule(id, RuleIs::Absent),
            ConditionV1::RuleOneOf { id, versions } => rule(id, RuleIs::OneOf(versions)),
            ConditionV1::RulesVersion(version) => Condition::RulesVersion(version),
        };
        Guard {
            once: twin.once.map(CommandKey::from),
            only_if: twin.only_if.map(condition),
        }
    }
}

impl<'a> From<&'a Command> for CommandV1<'a> {
    fn from(command: &'a Command) -> Self {
        match command {
            Command::CreateRule { id, draft } => CommandV1::CreateRule {
                id: id.as_str(),
                draft: RuleDraftV1::from(draft.as_ref()),
            },
            Command::UpdateRule { id, draft } => CommandV1::UpdateRule {
                id: id.as_str(),
                draft: RuleDraftV1::from(draft.as_ref()),
            },
            Command::DeleteRule { id } => CommandV1::DeleteRule { id: id.as_str() },
            Command::SetIncidentStatus { incident, status } => CommandV1::SetIncidentStatus {
                incident: incident.0,
                status: codes::incident_status::code(*status),
            },
            Command::ConfirmIncident { incident } => CommandV1::ConfirmIncident { incident: incident.0 },
            Command::DismissDeadLetters { seqs } => CommandV1::DismissDeadLetters { seqs: seqs.clone() },
            Command::Rejudge { from, to, all } => CommandV1::Rejudge {
                from: from.0,
                to: to.0,
                all: *all,
            },
            Command::ApplyRules { rules } => CommandV1::ApplyRules {
                rules: rules
                    .iter()
                    .map(|(id, draft)| (id.as_str(), RuleDraftV1::from(draft)))
                    .collect(),
            },
        }
    }
}

impl TryFrom<CommandV1<'_>> for Command {
    type Error = RecordError;

    fn try_from(twin: CommandV1<'_>) -> Result<Self, RecordError> {
        let boxed = |draft| RuleDraft::try_from(draft).map(Box::new);
        Ok(match twin {
            CommandV1::CreateRule { id, draft } => Command::CreateRule {
                id: id.into(),
                draft: boxed(draft)?,
            },
            CommandV1::UpdateRule { id, draft } => Command::UpdateRule {
                id: id.into(),
                draft: boxed(draft)?,
            },
            CommandV1::DeleteRule { id } => Command::DeleteRule { id: id.into() },
            CommandV1::SetIncidentStatus { incident, status } => Command::SetIncidentStatus {
                incident: IncidentId(incident),
                status: codes::incident_status::value(status)?,
            },
            CommandV1::ConfirmIncident { incident } => Command::ConfirmIncident {
                incident: IncidentId(incident),
            },
            CommandV1::DismissDeadLetters { seqs } => Command::DismissDeadLetters { seqs },
            CommandV1::Rejudge { from, to, all } => Command::Rejudge {
                from: Seq(from),
                to: Seq(to),
                all,
            },
            CommandV1::ApplyRules { rules } => Command::ApplyRules {
                rules: rules
                    .into_iter()
                    .map(|(id, draft)| Ok((id.into(), RuleDraft::try_from(draft)?)))
                    .collect::<Result<_, RecordError>>()?,
            },
        })
    }
}
