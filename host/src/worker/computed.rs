//! Attributes that the server computes for an event, for rules, templates and plugins that read them: the alert's JSON as
//! clients see it has them too. Filled in only where something asks: most rules never do.

use donjon_core::admit::Dedup;
use donjon_core::batch::Wants;
use donjon_core::rule::RuleDraft;
use donjon_core::settle::RuleBook;
use donjon_core::{Object, Timestamp, Value};
use donjon_runtime::PluginSet;

use super::Pending;
use crate::time;

/// Their names.
const NAMES: [&str; 14] = [
    "apiKeyRef",
    "deleted",
    "dismissed",
    "event_id",
    "firingCounter",
    "firingStartTime",
    "firingStartTimeSinceLastResolved",
    "isFullDuplicate",
    "isNoisy",
    "isPartialDuplicate",
    "providerType",
    "pushed",
    "startedAt",
    "unresolvedCounter",
];

/// Those that a rule names anywhere, or that a plugin reads.
pub(super) fn wanted(book: &RuleBook, plugins: &PluginSet) -> Vec<&'static str> {
    let named = |draft: &RuleDraft, name: &str| {
        draft.condition.contains(name)
            || draft.group_by.iter().any(|path| path.contains(name))
            || draft.name_template.as_ref().is_some_and(|text| text.contains(name))
    };
    let read = |wants: &Wants, name: &str| match wants {
        Wants::Documents => true,
        Wants::Fields(fields) => fields.iter().any(|field| field == name),
    };
    let asked = |name: &&str| {
        book.rules().iter().any(|live| named(&live.rule.draft, name))
            || plugins
                .plugins
                .iter()
                .map(|plugin| plugin.description())
                .any(|of| read(&of.wants_to_correlate, name) || read(&of.wants_to_enrich, name))
    };
    NAMES.into_iter().filter(asked).collect()
}

/// Sets those of `wanted` that the sender did not set.
pub(super) fn fill(event: &mut Pending, wanted: &[&'static str]) {
    for name in wanted {
        if event
            .event
            .alert
            .attributes
            .get(name)
            .is_none_or(|value| *value == Value::Null)
            && let Some(value) = value_of(event, name)
        {
            let attributes: &mut Object = &mut event.event.alert.attributes;
            attributes.set(*name, value);
        }
    }
}

fn value_of(event: &Pending, name: &str) -> Option<Value> {
    let stored = &event.admission.stored;
    let at = |time: Option<Timestamp>| time.map(|at| Value::text(time::format(at)));
    let (provider, key) = &event.sender;
    match name {
        "apiKeyRef" => Some(Value::text(key.as_str())),
        "event_id" => Some(Value::text(event.event.event_id.as_str())),
        "firingCounter" => Some(Value::Int(stored.firing_counter.into())),
        "unresolvedCounter" => Some(Value::Int(stored.unresolved_counter.into())),
        "firingStartTime" => at(stored.firing_start),
        "firingStartTimeSinceLastResolved" => at(stored.firing_start_since_resolved),
        "startedAt" => at(event.admission.first_accepted),
        "isPartialDuplicate" => Some(Value::Bool(event.admission.dedup == Dedup::Update)),
        "pushed" => Some(Value::Bool(true)),
        "deleted" | "dismissed" | "isFullDuplicate" | "isNoisy" => Some(Value::Bool(false)),
        "providerType" if provider.is_empty() => Some(Value::text("keep")),
        "providerType" => Some(Value::text(provider.as_str())),
        _ => None,
    }
}
