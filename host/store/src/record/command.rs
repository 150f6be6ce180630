//! The stored form of commands: part of journal entries, where the block says the version.

use bincode::{BorrowDecode, Encode};
use donjon_core::command::Command;
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
        })
    }
}
