//! Keeps the aggregates of incidents true while their members change. An event costs one step per open incident of its
//! alert, never one per member.

use crate::alert::Event;
use crate::batch::Scalar;
use crate::ids::{IncidentId, TenantId, Timestamp};
use crate::incident::{Explanation, Incident, Link, MemberView};
use crate::limits::{MAX_EXPLAINED_VALUE_BYTES, MAX_OPEN_LINKS_PER_ALERT, cut};
use crate::naming::JsonText;
use crate::outbox::IncidentAction;
use crate::state::{StateError, StateView};
use crate::working::Working;

use super::{Joining, Judgement};

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
    state.open_links.push(id);
    if state.open_links.len() > MAX_OPEN_LINKS_PER_ALERT {
        state.open_links.remove(0);
    }
    let (from, to) = state.received_range;
    // An incident that was let go for the limit still has its link: its members must not be counted again.
    if working
        .link_mut(tenant, id, fingerprint)?
        .is_some_and(|link| link.unlinked.is_none())
    {
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
    };
    working.put_link(tenant, link);
    Ok(())
}

/// A value short enough to be kept with the link; cut JSON is kept as text.
fn bounded(value: Scalar) -> Scalar {
    match value {
        Scalar::Text(text) | Scalar::Json(text) if text.len() > MAX_EXPLAINED_VALUE_BYTES => {
            Scalar::Text(cut(&text, MAX_EXPLAINED_VALUE_BYTES).to_owned())
        }
        short => short,
    }
}

fn explain(event: &Event, judgement: &Judgement<'_>, json_text: JsonText) -> Explanation {
    let rule = &judgement.rule.rule;
    let branch = |index: u32| {
        let text = usize::try_from(index).ok().and_then(|at| rule.draft.branches.get(at));
        (index, text.cloned().unwrap_or_default())
    };
    let value = |column: &u32| {
        let at = usize::try_from(*column).ok()?;
        let column = judgement.columns.get(at)?;
        Some((
            column.name.clone(),
            bounded(column.of(&event.alert.attributes, json_text)),
        ))
    };
    Explanation {
        rule: rule.id.clone(),
        rule_version: rule.version,
        event_id: event.event_id.clone(),
        branches: judgement.branches.iter().map(branch).collect(),
        group_key: judgement.group.clone(),
        values: judgement.read.iter().filter_map(value).collect(),
        plugin: (judgement.plugin.0.to_owned(), judgement.plugin.1.to_owned()),
    }
}

/// Computes the aggregates of an incident anew from its links, after a person changed what counts.
pub(super) fn recount<V: StateView>(
    working: &mut Working<V>,
    tenant: &TenantId,
    id: IncidentId,
) -> Result<(), StateError> {
    let links: Vec<Link> = working
        .committed()
        .links(tenant, id)?
        .into_iter()
        .filter(|link| link.unlinked.is_none())
        .collect();
    let mut members = crate::incident::Members::default();
    for link in &links {
        let Some(state) = working.alert_mut(tenant, &link.fingerprint)? else {
            continue;
        };
        let view = MemberView {
            status: state.status(),
            severity: state.severity,
            unresolved: state.unresolved(),
        };
        members.add(
            &link.fingerprint,
            view,
            &link.explanation.branches.iter().map(|(index, _)| *index).collect(),
        );
        members.newest_event = members.newest_event.max(state.last_event.accepted);
        if !state.open_links.contains(&id) {
            state.open_links.push(id);
        }
    }
    if let Some(incident) = working.incident_mut(tenant, id)? {
        incident.members = members;
        incident.follow_severity();
    }
    Ok(())
}
