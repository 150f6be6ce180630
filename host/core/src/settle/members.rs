//! Keeps the aggregates of incidents true while their members change. An event costs one step per open incident of its
//! alert, never one per member.

use std::collections::BTreeSet;

use crate::alert::Event;
use crate::batch::Scalar;
use crate::ids::{Fingerprint, IncidentId, TenantId, Timestamp};
use crate::incident::{Explanation, Incident, Link, Member, MemberView, Members};
use crate::limits::{
    MAX_COLUMN_NAME_BYTES, MAX_EXPLAINED_VALUE_BYTES, MAX_EXPLAINED_VALUES, MAX_EXPLANATION_BYTES,
    MAX_OPEN_LINKS_PER_ALERT,
};
use crate::outbox::IncidentAction;
use crate::state::{StateError, StateView};
use crate::value::JsonText;
use crate::working::Working;

use super::{Joining, Judgement};

/// Named in an explanation like an attribute where values were left out, and room for that.
const LEFT_OUT: &str = "(left out)";
const LEFT_OUT_BYTES: usize = 128;

/// Brings all open incidents of the event's alert up to date. Answers them, each with the time of its newest event
/// before this one: windows are judged by that. Closed incidents are let go.
pub(super) fn follow<V: StateView>(
    working: &mut Working<V>,
    event: &Event,
    before: Option<MemberView>,
    after: MemberView,
) -> Result<Vec<(IncidentId, Timestamp)>, StateError> {
    let (tenant, fingerprint) = (&event.tenant, &event.alert.fingerprint);
    let linked = match working.alert(tenant, fingerprint)? {
        Some(state) if !state.open_links.is_empty() => state.open_links.clone(),
        _ => return Ok(Vec::new()),
    };
    let mut open = Vec::with_capacity(linked.len());
    for id in &linked {
        let Some(incident) = working.incident(tenant, *id)? else {
            continue;
        };
        if !incident.status.is_open() {
            continue;
        }
        if let Some(incident) = working.incident_mut(tenant, *id)? {
            open.push((*id, incident.members.newest_event));
            take_event(incident, event, before, after);
            if incident.visible() {
                working.announce_incident(*id, IncidentAction::Updated);
            }
        }
    }
    if open.len() < linked.len()
        && let Some(state) = working.alert_mut(tenant, fingerprint)?
    {
        state.open_links = open.iter().map(|(id, _)| *id).collect();
    }
    Ok(open)
}

fn take_event(incident: &mut Incident, event: &Event, before: Option<MemberView>, after: MemberView) {
    let members = &mut incident.members;
    members.change(&event.alert.fingerprint, before.unwrap_or(after), after);
    members.newest_event = members.newest_event.max(event.accepted);
    incident.note_received(event.alert.last_received, event.alert.last_received);
    incident.note_origin(&event.alert.source, event.alert.service.as_deref());
    incident.follow_severity();
}

/// Links the event's alert to an incident, unless it is linked already.
pub(super) fn link<V: StateView>(
    working: &mut Working<V>,
    joining: &Joining<'_>,
    judgement: &Judgement<'_>,
    id: IncidentId,
) -> Result<(), StateError> {
    let event = joining.event;
    let (tenant, fingerprint) = (&event.tenant, &event.alert.fingerprint);
    let Some(state) = working.alert_mut(tenant, fingerprint)? else {
        return Ok(());
    };
    if state.open_links.contains(&id) {
        return Ok(());
    }
    let (from, to) = state.received_range;
    open_link(working, tenant, fingerprint, id, joining.after)?;
    if let Some(link) = working.link_mut(tenant, id, fingerprint)?
        && link.unlinked.is_none()
    {
        // The incident was let go for the limit: it counts the alert already, as it was then.
        let counted = link.let_go.take();
        if let Some(incident) = working.incident_mut(tenant, id)? {
            let members = &mut incident.members;
            members.change(fingerprint, counted.unwrap_or(joining.after), joining.after);
            members.newest_event = members.newest_event.max(event.accepted);
            incident.note_received(from, to);
            incident.follow_severity();
        }
        return Ok(());
    }
    if let Some(incident) = working.incident_mut(tenant, id)? {
        incident.members.add(fingerprint, joining.after, &judgement.branches);
        incident.members.newest_event = incident.members.newest_event.max(event.accepted);
        incident.note_received(from, to);
        incident.note_origin(&event.alert.source, event.alert.service.as_deref());
        incident.follow_severity();
    }
    let link = Link {
        incident: id,
        fingerprint: fingerprint.clone(),
        joined_seq: event.seq,
        joined: event.accepted,
        explanation: explain(event, judgement, joining.json_text),
        name_values: Vec::new(),
        unlinked: None,
        let_go: None,
    };
    working.put_link(tenant, link);
    Ok(())
}

fn explain(event: &Event, judgement: &Judgement<'_>, json_text: JsonText) -> Explanation {
    let rule = &judgement.rule.rule;
    let branch = |index: u32| {
        let text = usize::try_from(index).ok().and_then(|at| rule.draft.branches.get(at));
        (index, text.cloned().unwrap_or_default())
    };
    Explanation {
        rule: rule.id.clone(),
        rule_version: rule.version,
        event_id: event.event_id.clone(),
        branches: judgement.branches.iter().map(branch).collect(),
        group_key: judgement.group.clone(),
        values: explained_values(event, judgement, json_text),
        plugin: (judgement.plugin.0.to_owned(), judgement.plugin.1.to_owned()),
    }
}

/// What the branches read, each attribute once, within the limits; the last one says if there was more.
fn explained_values(event: &Event, judgement: &Judgement<'_>, json_text: JsonText) -> Vec<(String, Scalar)> {
    let mut seen = BTreeSet::new();
    let columns = judgement.read.iter().filter(|column| seen.insert(**column));
    let columns = columns.filter_map(|column| judgement.columns.get(usize::try_from(*column).ok()?));
    let (mut values, mut bytes, mut left_out) = (Vec::new(), 0, 0u32);
    for column in columns {
        if values.len() >= MAX_EXPLAINED_VALUES - 1 || column.name.len() > MAX_COLUMN_NAME_BYTES {
            left_out += 1;
            continue;
        }
        // Short enough to be kept with the link; cut JSON is kept as text.
        let (value, _) = column.of(&event.alert.attributes, MAX_EXPLAINED_VALUE_BYTES, json_text);
        let size = column.name.len() + text_bytes(&value);
        if bytes + size > MAX_EXPLANATION_BYTES - LEFT_OUT_BYTES {
            left_out += 1;
            continue;
        }
        bytes += size;
        values.push((column.name.clone(), value));
    }
    if left_out > 0 {
        let text = format!("values over the limit of an explanation: {left_out}");
        values.push((LEFT_OUT.to_owned(), Scalar::Text(text)));
    }
    values
}

fn text_bytes(value: &Scalar) -> usize {
    match value {
        Scalar::Text(text) | Scalar::Json(text) => text.len(),
        Scalar::Null | Scalar::Bool(_) | Scalar::Int(_) | Scalar::Float(_) => 0,
    }
}

/// Notes that an alert keeps an incident up to date. One over the limit is let go, the oldest first; its link says how it
/// counts the alert from then on.
fn open_link<V: StateView>(
    working: &mut Working<V>,
    tenant: &TenantId,
    fingerprint: &Fingerprint,
    id: IncidentId,
    view: MemberView,
) -> Result<(), StateError> {
    let Some(state) = working.alert_mut(tenant, fingerprint)? else {
        return Ok(());
    };
    state.open_links.push(id);
    if state.open_links.len() <= MAX_OPEN_LINKS_PER_ALERT {
        return Ok(());
    }
    let oldest = state.open_links.remove(0);
    if let Some(link) = working.link_mut(tenant, oldest, fingerprint)? {
        link.let_go = Some(view);
    }
    Ok(())
}

/// Counts one member of an incident anew, after a person changed what counts, and brings the two together again.
pub(super) fn recount<V: StateView>(
    working: &mut Working<V>,
    tenant: &TenantId,
    id: IncidentId,
    member: &Member,
    counted: &mut Members,
) -> Result<(), StateError> {
    let Some(state) = working.alert(tenant, &member.fingerprint)? else {
        return Ok(());
    };
    let view = MemberView {
        status: state.status(),
        severity: state.severity,
        unresolved: state.unresolved(),
    };
    let (newest, known) = (state.last_event.accepted, state.open_links.contains(&id));
    counted.add(&member.fingerprint, view, &member.branches);
    counted.newest_event = counted.newest_event.max(newest);
    if !known {
        open_link(working, tenant, &member.fingerprint, id, view)?;
        if let Some(link) = working.link_mut(tenant, id, &member.fingerprint)? {
            link.let_go = None;
        }
    }
    Ok(())
}
