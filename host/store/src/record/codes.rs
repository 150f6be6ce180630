//! The stored numbers of the enums of the domain. A number is never reused and never changes its meaning; a new variant
//! gets the next one, and the compiler asks for it here.

use donjon_core::alert::{Severity, Status};
use donjon_core::batch::OnMissingGroup;
use donjon_core::command::RuleChange;
use donjon_core::incident::{IncidentStatus, NameOrigin, Visibility};
use donjon_core::outbox::IncidentAction;
use donjon_core::rule::{CreateOn, ResolveOn};

use super::RecordError;

macro_rules! codes {
    ($name:ident, $type:ty, $what:literal, { $($variant:path = $code:literal),+ $(,)? }) => {
        pub(super) mod $name {
            use super::*;

            pub(in crate::record) fn code(value: $type) -> u8 {
                match value {
                    $($variant => $code),+
                }
            }

            pub(in crate::record) fn value(code: u8) -> Result<$type, RecordError> {
                match code {
                    $($code => Ok($variant),)+
                    found => Err(RecordError::Code { what: $what, found }),
                }
            }
        }
    };
}

codes!(status, Status, "alert status", {
    Status::Firing = 0,
    Status::Resolved = 1,
    Status::Acknowledged = 2,
    Status::Suppressed = 3,
    Status::Pending = 4,
    Status::Maintenance = 5,
});

codes!(severity, Severity, "severity", {
    Severity::Low = 1,
    Severity::Info = 2,
    Severity::Warning = 3,
    Severity::High = 4,
    Severity::Critical = 5,
});

codes!(incident_status, IncidentStatus, "incident status", {
    IncidentStatus::Firing = 0,
    IncidentStatus::Acknowledged = 1,
    IncidentStatus::Resolved = 2,
    IncidentStatus::Merged = 3,
    IncidentStatus::Deleted = 4,
});

codes!(visibility, Visibility, "visibility", {
    Visibility::Hidden = 0,
    Visibility::Candidate = 1,
    Visibility::Visible = 2,
});

codes!(name_origin, NameOrigin, "origin of a name", {
    NameOrigin::Rule = 0,
    NameOrigin::Person = 1,
});

codes!(create_on, CreateOn, "create_on", {
    CreateOn::Any = 0,
    CreateOn::All = 1,
});

codes!(resolve_on, ResolveOn, "resolve_on", {
    ResolveOn::First = 0,
    ResolveOn::Last = 1,
    ResolveOn::All = 2,
    ResolveOn::Never = 3,
});

codes!(on_missing_group, OnMissingGroup, "on_missing_group", {
    OnMissingGroup::None = 0,
    OnMissingGroup::Skip = 1,
});

codes!(rule_change, RuleChange, "change of a rule", {
    RuleChange::Created = 0,
    RuleChange::Changed = 1,
    RuleChange::Unchanged = 2,
});

codes!(incident_action, IncidentAction, "incident action", {
    IncidentAction::Created = 0,
    IncidentAction::Updated = 1,
    IncidentAction::Deleted = 2,
});
