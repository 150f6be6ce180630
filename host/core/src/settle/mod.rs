//! The second pure step: what one admitted event and the verdicts on it change about incidents.
//!
//! Events are settled one after the other in the order of the journal, each seeing everything the ones before it caused,
//! so that the outcome does not depend on where batches begin and end. Plugins only propose (I5): every verdict is
//! checked here against the rule book, and windows, visibility and resolution are decided here alone.

mod command_meta;
mod commands;
mod group;
mod guarded;
#[cfg(test)]
mod large_tests;
mod members;
#[cfg(test)]
mod memory;
mod rule_commands;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

pub use command_meta::CommandMeta;
pub use commands::{CommandProgress, Remaining, apply_command, go_on};
pub use guarded::{Guarded, answered_before, judge_guard, remember_outcome};

use crate::admit::Admission;
use crate::alert::{Event, Status};
use crate::batch::Column;
use crate::branch_set::BranchSet;
use crate::enrichment;
use crate::ids::{GroupKey, IncidentId, RuleId, TenantId, Timestamp};
use crate::incident::{IncidentStatus, MemberView, Visibility};
use crate::naming::Template;
use crate::outbox::IncidentAction;
use crate::rule::{CreateOn, Rule};
use crate::state::{StateError, StateView};
use crate::value::JsonText;
use crate::working::Working;

/// A rule with what is worked out once: its parsed naming template.
#[derive(Clone, Debug)]
pub struct LiveRule {
    /// The rule.
    pub rule: Rule,
    /// Its naming template, if it has one.
    pub template: Option<Template>,
}

impl LiveRule {
    /// Prepares a rule.
    #[must_use]
    pub fn new(rule: Rule) -> LiveRule {
        let template = rule
            .draft
            .name_template
            .as_deref()
            .filter(|text| !text.is_empty())
            .map(Template::parse);
        LiveRule { rule, template }
    }
}

/// The live rules of one tenant in the order in which they apply.
#[derive(Clone, Debug, Default)]
pub struct RuleBook {
    rules: Vec<Arc<LiveRule>>,
    positions: HashMap<RuleId, usize>,
}

impl RuleBook {
    /// Orders the live ones among `rules`: higher priority first, then older first.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> RuleBook {
        let mut rules: Vec<_> = rules
            .into_iter()
            .filter(Rule::live)
            .map(|rule| Arc::new(LiveRule::new(rule)))
            .collect();
        rules.sort_by(|one, other| one.rule.compare_turn(&other.rule));
        let positions = rules
            .iter()
            .enumerate()
            .map(|(at, live)| (live.rule.id.clone(), at))
            .collect();
        RuleBook { rules, positions }
    }

    /// The rules in order.
    #[must_use]
    pub fn rules(&self) -> &[Arc<LiveRule>] {
        &self.rules
    }

    /// A rule and its place in the order.
    #[must_use]
    pub fn get(&self, id: &RuleId) -> Option<(usize, &Arc<LiveRule>)> {
        let at = *self.positions.get(id)?;
        Some((at, self.rules.get(at)?))
    }
}

/// A verdict on one event, checked against the rule book.
#[derive(Clone, Debug)]
pub struct Judgement<'a> {
    /// The rule that matched.
    pub rule: &'a LiveRule,
    /// The group.
    pub group: GroupKey,
    /// The branches that matched.
    pub branches: BranchSet,
    /// The columns of the batch.
    pub columns: &'a [Column],
    /// Positions of those that the branches read: their values are kept as the explanation.
    pub read: &'a [u32],
    /// Who said so: name and version of the plugin.
    pub plugin: (&'a str, &'a str),
}

/// Everything known about one event when it is settled.
#[derive(Clone, Debug)]
pub struct Judged<'a> {
    /// The event.
    pub event: &'a Event,
    /// What `admit` said.
    pub admission: &'a Admission,
    /// What enrichers changed: dotted path and JSON text, none for removed.
    pub enrichments: Vec<(String, Option<String>)>,
    /// Why a plugin did not contribute, if one failed on this event.
    pub plugin_failure: Option<String>,
    /// In the order of the rule book.
    pub judgements: Vec<Judgement<'a>>,
}

/// Settles one event. Answers the incidents that it belongs to now, by its verdicts.
///
/// # Errors
/// When committed state cannot be read.
pub fn settle<V: StateView>(
    working: &mut Working<V>,
    judged: Judged<'_>,
    json_text: JsonText,
) -> Result<Vec<IncidentId>, StateError> {
    let event = judged.event;
    working.begin_entry(&event.tenant, event.seq)?;
    let before = remember(working, &judged)?;
    let after = MemberView {
        severity: event.alert.severity,
        ..judged.admission.after
    };
    working.announce_alert(&event.alert.fingerprint);

    let newest_before = members::follow(working, event, before, after)?;
    if after.status != Status::Firing {
        for (id, _) in &newest_before {
            resolve_if_asked(working, &event.tenant, *id, event.accepted)?;
        }
    }
    let mut incidents = Vec::new();
    let mut stopped_by: Option<&RuleId> = None;
    for judgement in &judged.judgements {
        let rule = &judgement.rule.rule;
        if stopped_by.is_some_and(|stopping| *stopping != rule.id) {
            break;
        }
        let joining = Joining {
            event,
            after,
            newest_before: &newest_before,
            json_text,
        };
        if let Some(id) = apply(working, &joining, judgement)? {
            incidents.push(id);
        }
        if rule.draft.stop_on_match {
            // A multi-level rule gives several verdicts: all of them count.
            stopped_by = Some(&rule.id);
        }
    }
    Ok(incidents)
}

/// What the verdicts on one event have in common.
struct Joining<'a> {
    event: &'a Event,
    after: MemberView,
    /// Open incidents of the alert, with the time of their newest event before this one.
    newest_before: &'a [(IncidentId, Timestamp)],
    json_text: JsonText,
}

/// Keeps severity, enrichments and plugin failure with the alert; answers the view before the event.
fn remember<V: StateView>(working: &mut Working<V>, judged: &Judged<'_>) -> Result<Option<MemberView>, StateError> {
    let event = judged.event;
    let Some(state) = working.alert_mut(&event.tenant, &event.alert.fingerprint)? else {
        return Ok(None);
    };
    let before = judged.admission.before.map(|before| MemberView {
        severity: state.severity,
        ..before
    });
    state.severity = event.alert.severity;
    let (from, to) = state.received_range;
    state.received_range = (from.min(event.alert.last_received), to.max(event.alert.last_received));
    state.enrichments.clear();
    state.plugin_failure.clone_from(&judged.plugin_failure);
    for (path, json) in &judged.enrichments {
        // Whoever applies changes asks before; this is the last guard of what is stored.
        match enrichment::fits(&state.enrichments, path, json.as_deref()) {
            Ok(()) => state.enrichments.push((path.clone(), json.clone())),
            Err(over) => state.plugin_failure = Some(format!("a change of an enricher is not kept: {over}")),
        }
    }
    Ok(before)
}

/// Applies one verdict: find or open the incident, link, name, show, resolve.
fn apply<V: StateView>(
    working: &mut Working<V>,
    joining: &Joining<'_>,
    judgement: &Judgement<'_>,
) -> Result<Option<IncidentId>, StateError> {
    let (tenant, now) = (&joining.event.tenant, joining.event.accepted);
    let stats = working.stats_mut(tenant, &judgement.rule.rule.id)?;
    stats.matches += 1;
    stats.last_match = Some(now);
    let Some(id) = group::find_or_open(working, joining, judgement)? else {
        return Ok(None);
    };
    members::link(working, joining, judgement, id)?;
    group::rename(working, joining, judgement, id)?;
    let shown = show_if_due(working, tenant, id, judgement)?;
    resolve_if_asked(working, tenant, id, now)?;
    if working
        .incident(tenant, id)?
        .is_some_and(crate::incident::Incident::visible)
    {
        let action = if shown {
            IncidentAction::Created
        } else {
            IncidentAction::Updated
        };
        working.announce_incident(id, action);
    }
    Ok(Some(id))
}

/// Shows a hidden incident once threshold and `create_on` are met; answers whether it did.
fn show_if_due<V: StateView>(
    working: &mut Working<V>,
    tenant: &TenantId,
    id: IncidentId,
    judgement: &Judgement<'_>,
) -> Result<bool, StateError> {
    let draft = &judgement.rule.rule.draft;
    let Some(incident) = working.incident(tenant, id)? else {
        return Ok(false);
    };
    if incident.visibility != Visibility::Hidden {
        return Ok(false);
    }
    let members = &incident.members;
    let occurrences = members.occurrences.max(u64::from(members.count));
    let all = u32::try_from(draft.branches.len()).unwrap_or(u32::MAX);
    let branches_met = match draft.create_on {
        CreateOn::Any => true,
        CreateOn::All => members.branches.len() == all && members.with_status(Status::Firing) == members.count,
    };
    if occurrences < u64::from(draft.threshold) || !branches_met {
        return Ok(false);
    }
    if let Some(incident) = working.incident_mut(tenant, id)? {
        incident.visibility = Visibility::Visible;
    }
    Ok(true)
}

/// Resolves an open incident whose members ask for it.
fn resolve_if_asked<V: StateView>(
    working: &mut Working<V>,
    tenant: &TenantId,
    id: IncidentId,
    now: Timestamp,
) -> Result<(), StateError> {
    let asked = working
        .incident(tenant, id)?
        .is_some_and(|incident| incident.status.is_open() && incident.members.ask_to_resolve(incident.resolve_on));
    if !asked {
        return Ok(());
    }
    if let Some(incident) = working.incident_mut(tenant, id)? {
        incident.status = IncidentStatus::Resolved;
        incident.end = Some(now);
        if incident.visible() {
            working.announce_incident(id, IncidentAction::Updated);
        }
    }
    Ok(())
}
