//! What commands of people change. A command is a batch of its own: it sees committed state only.

use crate::alert::Status;
use crate::command::{Command, CommandOutcome};
use crate::ids::{Fingerprint, IncidentId, RuleId, Seq, TenantId, Timestamp};
use crate::incident::{IncidentStatus, MemberView, Visibility};
use crate::outbox::IncidentAction;
use crate::rule::{Rule, RuleDraft};
use crate::state::{StateError, StateView};
use crate::working::Working;

use super::{members, resolve_if_asked};

/// Where a command comes from.
#[derive(Clone, Debug)]
pub struct CommandMeta {
    /// Its position in the journal.
    pub seq: Seq,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// For whom it acts.
    pub tenant: TenantId,
    /// Who gave it: the name of the API key.
    pub actor: String,
}

/// Applies one command.
///
/// # Errors
/// When committed state cannot be read.
pub fn apply_command<V: StateView>(
    working: &mut Working<V>,
    meta: &CommandMeta,
    command: Command,
) -> Result<CommandOutcome, StateError> {
    working.begin_entry(&meta.tenant, meta.seq)?;
    match command {
        Command::CreateRule { id, draft } => create_rule(working, meta, id, *draft),
        Command::UpdateRule { id, draft } => change_rule(working, meta, &id, |rule| rule.draft = *draft),
        Command::DeleteRule { id } => change_rule(working, meta, &id, |rule| rule.deleted = true),
        Command::SetIncidentStatus { incident, status } => set_status(working, meta, incident, status),
        Command::ConfirmIncident { incident } => confirm(working, meta, incident),
        // The worker judges; nothing else changes.
        Command::Rejudge { .. } => Ok(CommandOutcome::Rejudged(0)),
        Command::DismissDeadLetters { seqs } => {
            working.dismiss_dead_letters(&meta.tenant, seqs.map(|seqs| seqs.into_iter().map(Seq).collect()));
            Ok(CommandOutcome::Applied)
        }
    }
}

fn create_rule<V: StateView>(
    working: &mut Working<V>,
    meta: &CommandMeta,
    id: RuleId,
    draft: RuleDraft,
) -> Result<CommandOutcome, StateError> {
    if working.committed().rule(&meta.tenant, &id)?.is_some() {
        return Ok(CommandOutcome::RuleExists);
    }
    let counters = working.tenant_mut(&meta.tenant)?;
    counters.rules_version += 1;
    let offered_at_creation = counters.offered;
    working.put_rule(Rule {
        id,
        tenant: meta.tenant.clone(),
        version: 1,
        draft,
        created_seq: meta.seq,
        created: meta.accepted,
        created_by: meta.actor.clone(),
        updated: None,
        updated_by: None,
        deleted: false,
        offered_at_creation,
    });
    Ok(CommandOutcome::Applied)
}

fn change_rule<V: StateView>(
    working: &mut Working<V>,
    meta: &CommandMeta,
    id: &RuleId,
    change: impl FnOnce(&mut Rule),
) -> Result<CommandOutcome, StateError> {
    let Some(mut rule) = working.committed().rule(&meta.tenant, id)?.filter(|rule| !rule.deleted) else {
        return Ok(CommandOutcome::RuleNotFound);
    };
    change(&mut rule);
    rule.version += 1;
    rule.updated = Some(meta.accepted);
    rule.updated_by = Some(meta.actor.clone());
    working.tenant_mut(&meta.tenant)?.rules_version += 1;
    working.put_rule(rule);
    Ok(CommandOutcome::Applied)
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
) -> Result<CommandOutcome, StateError> {
    let Some(incident) = working.incident(&meta.tenant, id)? else {
        return Ok(CommandOutcome::IncidentNotFound);
    };
    let (was_open, visible) = (incident.status.is_open(), incident.visible());
    if !was_open && status.is_open() {
        members::recount(working, &meta.tenant, id)?;
    }
    if let Some(incident) = working.incident_mut(&meta.tenant, id)? {
        incident.status = status;
        if status.is_open() {
            incident.end = None;
        } else if was_open || status == IncidentStatus::Resolved {
            incident.end = Some(meta.accepted);
        }
        incident.assignee.get_or_insert_with(|| meta.actor.clone());
    }
    let given = match status {
        IncidentStatus::Resolved => Some(Status::Resolved),
        IncidentStatus::Acknowledged => Some(Status::Acknowledged),
        IncidentStatus::Firing | IncidentStatus::Merged | IncidentStatus::Deleted => None,
    };
    if let Some(given) = given {
        give_members(working, meta, id, given)?;
    }
    if visible {
        let action = if status == IncidentStatus::Deleted {
            IncidentAction::Deleted
        } else {
            IncidentAction::Updated
        };
        working.announce_incident(id, action);
    }
    Ok(CommandOutcome::Applied)
}

/// Gives every member of an incident a status until its next event, in all open incidents it belongs to.
fn give_members<V: StateView>(
    working: &mut Working<V>,
    meta: &CommandMeta,
    id: IncidentId,
    given: Status,
) -> Result<(), StateError> {
    for link in working.committed().links(&meta.tenant, id)? {
        if link.unlinked.is_none() {
            give(working, meta, &link.fingerprint, given)?;
        }
    }
    Ok(())
}

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
        }
        if given == Status::Resolved {
            resolve_if_asked(working, tenant, id, meta.accepted)?;
        }
    }
    Ok(())
}
