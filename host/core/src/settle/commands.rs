//! What commands of people change. A command is a batch of its own: it sees committed state only.

use std::collections::BTreeSet;

use crate::alert::Status;
use crate::command::{Command, CommandOutcome};
use crate::ids::{Fingerprint, IncidentId, Seq};
use crate::incident::{IncidentStatus, Member, MemberView, Members, Visibility};
use crate::outbox::IncidentAction;
use crate::state::{StateError, StateView};
use crate::working::Working;

use super::command_meta::CommandMeta;
use super::{members, resolve_if_asked, rule_commands};

/// How far a command is.
#[derive(Debug)]
pub enum CommandProgress {
    /// To its end.
    Done(CommandOutcome),
    /// What it changed so far is to be committed, with the cursor still before the command: then it goes on.
    More(Remaining),
}

/// What is left of a command that touches much.
///
/// No other entry may be applied in between: windows and resolutions would depend on the moment. A step changes nothing
/// more when it is done again, so a crash between two commits costs only their repetition (I2, I10).
#[derive(Debug)]
pub struct Remaining(Rest);

#[derive(Debug)]
enum Rest {
    /// An incident gets a status, and its members with it.
    Status(StatusWork),
    /// Dead letters are put away. The last comes first.
    Dismissal(Vec<Seq>),
}

/// What is left of a change of an incident's status.
#[derive(Debug)]
struct StatusWork {
    incident: IncidentId,
    status: IncidentStatus,
    /// The last comes first.
    members: Vec<Member>,
    work: Work,
}

/// What is done to each member.
#[derive(Debug)]
enum Work {
    /// Count it anew: the incident is opened again.
    Recount(Members),
    /// Give it a status.
    Give(Status),
}

/// Applies one command, or its first step.
///
/// # Errors
/// When committed state cannot be read.
pub fn apply_command<V: StateView>(
    working: &mut Working<V>,
    meta: &CommandMeta,
    command: Command,
) -> Result<CommandProgress, StateError> {
    working.begin_entry(&meta.tenant, meta.seq)?;
    let outcome = match command {
        Command::SetIncidentStatus { incident, status } => return set_status(working, meta, incident, status),
        Command::DismissDeadLetters { seqs } => return begin_dismissal(working, meta, seqs),
        Command::CreateRule { id, draft } => rule_commands::create(working, meta, id, *draft),
        Command::UpdateRule { id, draft } => rule_commands::replace(working, meta, &id, *draft),
        Command::DeleteRule { id } => rule_commands::delete(working, meta, &id),
        Command::ApplyRules { rules } => rule_commands::apply(working, meta, rules),
        Command::ConfirmIncident { incident } => confirm(working, meta, incident),
        // The worker judges; nothing else changes.
        Command::Rejudge { .. } => Ok(CommandOutcome::Rejudged(0)),
    };
    outcome.map(CommandProgress::Done)
}

/// Those that are there now: what is named and is not costs nothing.
fn begin_dismissal<V: StateView>(
    working: &mut Working<V>,
    meta: &CommandMeta,
    named: Option<Vec<u64>>,
) -> Result<CommandProgress, StateError> {
    let mut present = working.committed().dead_letter_seqs(&meta.tenant)?;
    if let Some(named) = named {
        let named: BTreeSet<u64> = named.into_iter().collect();
        present.retain(|seq| named.contains(&seq.0));
    }
    present.reverse();
    Ok(dismiss(working, meta, present))
}

fn dismiss<V: StateView>(working: &mut Working<V>, meta: &CommandMeta, mut left: Vec<Seq>) -> CommandProgress {
    let kept = left.len().saturating_sub(working.changes_per_commit());
    let now = left.split_off(kept);
    if !now.is_empty() {
        working.dismiss_dead_letters(&meta.tenant, now);
    }
    if left.is_empty() {
        CommandProgress::Done(CommandOutcome::Applied)
    } else {
        CommandProgress::More(Remaining(Rest::Dismissal(left)))
    }
}

fn confirm<V: StateView>(
    working: &mut Working<V>,
    meta: &CommandMeta,
    id: IncidentId,
) -> Result<CommandOutcome, StateError> {
    let Some(incident) = working.incident(&meta.tenant, id)? else {
        return Ok(CommandOutcome::IncidentNotFound);
    };
    if incident.visibility != Visibility::Candidate {
        return Ok(CommandOutcome::NotACandidate);
    }
    if let Some(incident) = working.incident_mut(&meta.tenant, id)? {
        incident.visibility = Visibility::Visible;
    }
    working.announce_incident(id, IncidentAction::Created);
    Ok(CommandOutcome::Applied)
}

fn set_status<V: StateView>(
    working: &mut Working<V>,
    meta: &CommandMeta,
    id: IncidentId,
    status: IncidentStatus,
) -> Result<CommandProgress, StateError> {
    let Some(incident) = working.incident(&meta.tenant, id)? else {
        return Ok(CommandProgress::Done(CommandOutcome::IncidentNotFound));
    };
    let opened_again = !incident.status.is_open() && status.is_open();
    let work = match given_to_members(status) {
        _ if opened_again => Work::Recount(Members::default()),
        Some(given) => Work::Give(given),
        None => return finish(working, meta, id, status),
    };
    begin_work(working, meta, id, status, work)
}

/// The status that members get with their incident, until their next event.
fn given_to_members(status: IncidentStatus) -> Option<Status> {
    match status {
        IncidentStatus::Resolved => Some(Status::Resolved),
        IncidentStatus::Acknowledged => Some(Status::Acknowledged),
        IncidentStatus::Firing | IncidentStatus::Merged | IncidentStatus::Deleted => None,
    }
}

fn begin_work<V: StateView>(
    working: &mut Working<V>,
    meta: &CommandMeta,
    incident: IncidentId,
    status: IncidentStatus,
    work: Work,
) -> Result<CommandProgress, StateError> {
    let mut members = working.committed().members(&meta.tenant, incident)?;
    members.reverse();
    let left = StatusWork {
        incident,
        status,
        members,
        work,
    };
    give_status(working, meta, left)
}

/// The next step of a command.
///
/// # Errors
/// When committed state cannot be read.
pub fn go_on<V: StateView>(
    working: &mut Working<V>,
    meta: &CommandMeta,
    remaining: Remaining,
) -> Result<CommandProgress, StateError> {
    match remaining.0 {
        Rest::Status(left) => give_status(working, meta, left),
        Rest::Dismissal(left) => Ok(dismiss(working, meta, left)),
    }
}

fn give_status<V: StateView>(
    working: &mut Working<V>,
    meta: &CommandMeta,
    mut remaining: StatusWork,
) -> Result<CommandProgress, StateError> {
    let (tenant, id, status) = (&meta.tenant, remaining.incident, remaining.status);
    for _ in 0..working.changes_per_commit() {
        let Some(member) = remaining.members.pop() else {
            break;
        };
        match &mut remaining.work {
            Work::Recount(counted) => members::recount(working, tenant, id, &member, counted)?,
            Work::Give(given) => give(working, meta, &member.fingerprint, *given)?,
        }
    }
    if !remaining.members.is_empty() {
        return Ok(more(remaining));
    }
    let Work::Recount(counted) = remaining.work else {
        return finish(working, meta, id, status);
    };
    if let Some(incident) = working.incident_mut(tenant, id)? {
        incident.members = counted;
        incident.follow_severity();
    }
    match given_to_members(status) {
        // As many again: in a commit of its own. The links are as they were.
        Some(given) => {
            let mut members = working.committed().members(tenant, id)?;
            members.reverse();
            Ok(more(StatusWork {
                incident: id,
                status,
                members,
                work: Work::Give(given),
            }))
        }
        None => finish(working, meta, id, status),
    }
}

fn more(left: StatusWork) -> CommandProgress {
    CommandProgress::More(Remaining(Rest::Status(left)))
}

/// Gives the incident itself its status, with the last step: until then a repetition finds it as it was.
fn finish<V: StateView>(
    working: &mut Working<V>,
    meta: &CommandMeta,
    id: IncidentId,
    status: IncidentStatus,
) -> Result<CommandProgress, StateError> {
    let Some(incident) = working.incident_mut(&meta.tenant, id)? else {
        return Ok(CommandProgress::Done(CommandOutcome::IncidentNotFound));
    };
    let was_open = incident.status.is_open();
    incident.status = status;
    if status.is_open() {
        incident.end = None;
    } else if was_open || status == IncidentStatus::Resolved {
        incident.end = Some(meta.accepted);
    }
    incident.assignee.get_or_insert_with(|| meta.actor.clone());
    if incident.visible() {
        let action = if status == IncidentStatus::Deleted {
            IncidentAction::Deleted
        } else {
            IncidentAction::Updated
        };
        working.announce_incident(id, action);
    }
    Ok(CommandProgress::Done(CommandOutcome::Applied))
}

/// Gives a member a status until its next event, in all open incidents it belongs to.
fn give<V: StateView>(
    working: &mut Working<V>,
    meta: &CommandMeta,
    fingerprint: &Fingerprint,
    given: Status,
) -> Result<(), StateError> {
    let tenant = &meta.tenant;
    let Some(state) = working.alert_mut(tenant, fingerprint)? else {
        return Ok(());
    };
    let before = MemberView {
        status: state.status(),
        severity: state.severity,
        unresolved: state.unresolved(),
    };
    if state.status_override == Some(given) {
        return Ok(());
    }
    state.status_override = Some(given);
    let after = MemberView {
        status: state.status(),
        severity: state.severity,
        unresolved: state.unresolved(),
    };
    let linked = state.open_links.clone();
    working.announce_alert(fingerprint);
    for id in linked {
        if let Some(incident) = working.incident_mut(tenant, id)? {
            incident.members.change(fingerprint, before, after);
            if incident.visible() {
                working.announce_incident(id, IncidentAction::Updated);
            }
        }
        if given == Status::Resolved {
            resolve_if_asked(working, tenant, id, meta.accepted)?;
        }
    }
    Ok(())
}
