//! Finds the incident of a group or opens one, and keeps its name. The window is judged here and nowhere else.

use crate::alert::Status;
use crate::alert::{Event, Severity};
use crate::ids::{GroupKey, IncidentId, RuleId, Seq, TenantId, Timestamp};
use crate::incident::{Incident, IncidentStatus, Members, NameOrigin, PlaceholderValues, Visibility};
use crate::naming::full_name;
use crate::state::{StateError, StateView};
use crate::working::Working;

use super::{Joining, Judgement};

/// The open incident of the group within its window, or a new one if the event may open one.
pub(super) fn find_or_open<V: StateView>(
    working: &mut Working<V>,
    joining: &Joining<'_>,
    judgement: &Judgement<'_>,
) -> Result<Option<IncidentId>, StateError> {
    let tenant = &joining.event.tenant;
    let head = working.group_head(tenant, &judgement.rule.rule.id, &judgement.group)?;
    if let Some(head) = head
        && let Some(open) = taking_events(working, tenant, head)?
        && within_window(working, joining, judgement, open)?
    {
        return Ok(Some(open));
    }
    if joining.event.alert.status != Status::Firing {
        return Ok(None);
    }
    open(working, joining, judgement, head).map(Some)
}

/// The incident itself while it is open; the one it was merged into while that is open.
fn taking_events<V: StateView>(
    working: &mut Working<V>,
    tenant: &TenantId,
    head: IncidentId,
) -> Result<Option<IncidentId>, StateError> {
    let Some(incident) = working.incident(tenant, head)? else {
        return Ok(None);
    };
    match (incident.status, incident.merged_into) {
        (status, _) if status.is_open() => Ok(Some(head)),
        (IncidentStatus::Merged, Some(destination)) => {
            let open = working
                .incident(tenant, destination)?
                .is_some_and(|incident| incident.status.is_open());
            Ok(open.then_some(destination))
        }
        _ => Ok(None),
    }
}

/// How far time must have gone back for it to be a clock that was put right, and not an event that is judged again.
const CLOCK_PUT_RIGHT_MS: u64 = 24 * 60 * 60 * 1000;

/// Whether the newest member event before this one is recent enough. An incident without members never expires. Time goes
/// back by more than a day only where a clock that was far ahead was put right: what came before that is of no known
/// age, so it is over.
fn within_window<V: StateView>(
    working: &mut Working<V>,
    joining: &Joining<'_>,
    judgement: &Judgement<'_>,
    id: IncidentId,
) -> Result<bool, StateError> {
    let Some(incident) = working.incident(&joining.event.tenant, id)? else {
        return Ok(false);
    };
    let noted = joining
        .newest_before
        .iter()
        .find(|(known, _)| *known == id)
        .map(|(_, newest)| *newest);
    let newest = noted.unwrap_or(incident.members.newest_event);
    let timeframe_ms = judgement.rule.rule.draft.timeframe_seconds.saturating_mul(1000);
    let now = joining.event.accepted;
    let recent = newest >= now.minus_ms(timeframe_ms) && newest.minus_ms(CLOCK_PUT_RIGHT_MS) <= now;
    Ok(incident.members.count == 0 || recent)
}

/// The identifier of a new incident. An event that is judged again may open a second incident of the same group: the
/// first one is never overwritten.
fn unused_id<V: StateView>(
    working: &mut Working<V>,
    event: &Event,
    rule: &RuleId,
    group: &GroupKey,
) -> Result<IncidentId, StateError> {
    /// Further than any journal reaches.
    const BEYOND: u64 = 1 << 48;
    let mut seq = event.seq;
    loop {
        let id = IncidentId::derive(&event.tenant, rule, group, seq);
        if working.incident(&event.tenant, id)?.is_none() {
            return Ok(id);
        }
        seq = Seq(seq.0.wrapping_add(BEYOND));
    }
}

fn open<V: StateView>(
    working: &mut Working<V>,
    joining: &Joining<'_>,
    judgement: &Judgement<'_>,
    past_incident: Option<IncidentId>,
) -> Result<IncidentId, StateError> {
    let (event, rule) = (joining.event, &judgement.rule.rule);
    let id = unused_id(working, event, &rule.id, &judgement.group)?;
    let counters = working.tenant_mut(&event.tenant)?;
    counters.last_running_number += 1;
    let running_number = counters.last_running_number;
    working.stats_mut(&event.tenant, &rule.id)?.incidents += 1;
    let label = rule.multi_level_label(&judgement.group);
    let incident = Incident {
        id,
        tenant: event.tenant.clone(),
        running_number,
        created_seq: event.seq,
        created: event.accepted,
        rule: rule.id.clone(),
        rule_version: rule.version,
        rule_name: rule.draft.name.clone(),
        group_key: judgement.group.clone(),
        name: full_name(
            &rule.draft.name,
            label.as_deref(),
            rule.draft.name_prefix.as_deref(),
            running_number,
        ),
        name_origin: NameOrigin::Rule,
        name_values: Vec::new(),
        label,
        status: IncidentStatus::Firing,
        visibility: if rule.draft.require_approve {
            Visibility::Candidate
        } else {
            Visibility::Hidden
        },
        severity: Severity::Critical,
        severity_forced: false,
        resolve_on: rule.draft.resolve_on,
        assignee: rule.draft.assignee.clone(),
        start: None,
        last_seen: None,
        end: None,
        sources: Vec::new(),
        services: Vec::new(),
        past_incident,
        merged_into: None,
        members: Members {
            newest_event: Timestamp(0),
            ..Members::default()
        },
    };
    let id = incident.id;
    working.put_incident(incident);
    Ok(id)
}

/// Renders the name again from the newest values of all members, unless a person named the incident.
pub(super) fn rename<V: StateView>(
    working: &mut Working<V>,
    joining: &Joining<'_>,
    judgement: &Judgement<'_>,
    id: IncidentId,
) -> Result<(), StateError> {
    let tenant = &joining.event.tenant;
    if working
        .incident(tenant, id)?
        .is_none_or(|incident| incident.name_origin == NameOrigin::Person)
    {
        return Ok(());
    }
    let prefix = judgement.rule.rule.draft.name_prefix.as_deref();
    let Some(template) = &judgement.rule.template else {
        return add_prefix(working, tenant, id, prefix);
    };
    let values = template.values(&joining.event.alert.attributes, joining.json_text);
    let fingerprint = &joining.event.alert.fingerprint;
    let Some(link) = working.link(tenant, id, fingerprint)? else {
        return Ok(());
    };
    let old = link.name_values.clone();
    if old != values
        && let Some(link) = working.link_mut(tenant, id, fingerprint)?
    {
        link.name_values.clone_from(&values);
    }
    let Some(incident) = working.incident_mut(tenant, id)? else {
        return Ok(());
    };
    // The rule got a template with other placeholders: the members say theirs again, one by one.
    let begun_anew = incident.name_values.len() != values.len();
    if begun_anew {
        incident.name_values = vec![PlaceholderValues::default(); values.len()];
    }
    for (at, (seen, value)) in incident.name_values.iter_mut().zip(&values).enumerate() {
        match old.get(at) {
            Some(before) if before == value && !begun_anew => continue,
            Some(before) => seen.remove(before),
            None => {}
        }
        seen.add(value);
    }
    let base = template.render(&incident.name_values);
    incident.name = full_name(&base, incident.label.as_deref(), prefix, incident.running_number);
    Ok(())
}

/// The name without a template never changes, but for a prefix that the rule got later.
fn add_prefix<V: StateView>(
    working: &mut Working<V>,
    tenant: &TenantId,
    id: IncidentId,
    prefix: Option<&str>,
) -> Result<(), StateError> {
    let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) else {
        return Ok(());
    };
    let lacks = working
        .incident(tenant, id)?
        .is_some_and(|incident| !incident.name.contains(prefix));
    if lacks && let Some(incident) = working.incident_mut(tenant, id)? {
        incident.name = full_name(&incident.name, None, Some(prefix), incident.running_number);
    }
    Ok(())
}
