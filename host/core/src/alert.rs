//! One event of an alert after normalisation. Knows nothing of providers or JSON text.

use crate::ids::{EventId, Fingerprint, Seq, TenantId, Timestamp};
use crate::value::{Object, Value};

/// The state of an alert. Only `Firing` opens incidents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// The condition holds.
    Firing,
    /// The condition is over.
    Resolved,
    /// A person has seen it.
    Acknowledged,
    /// Silenced.
    Suppressed,
    /// Not yet long enough.
    Pending,
    /// Covered by a maintenance window.
    Maintenance,
}

/// How bad an alert or incident is, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Rank 1.
    Low,
    /// Rank 2, the default.
    Info,
    /// Rank 3.
    Warning,
    /// Rank 4.
    High,
    /// Rank 5.
    Critical,
}

impl Status {
    /// All of them, in the order of their stored numbers.
    pub const ALL: [Status; 6] = [
        Status::Firing,
        Status::Resolved,
        Status::Acknowledged,
        Status::Suppressed,
        Status::Pending,
        Status::Maintenance,
    ];

    /// Case-sensitive, as in the reference.
    #[must_use]
    pub fn parse(text: &str) -> Option<Status> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// The name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Firing => "firing",
            Status::Resolved => "resolved",
            Status::Acknowledged => "acknowledged",
            Status::Suppressed => "suppressed",
            Status::Pending => "pending",
            Status::Maintenance => "maintenance",
        }
    }
}

impl Severity {
    /// All of them, ascending; the position plus one is the rank.
    pub const ALL: [Severity; 5] = [
        Severity::Low,
        Severity::Info,
        Severity::Warning,
        Severity::High,
        Severity::Critical,
    ];

    /// Case-sensitive, as in the reference.
    #[must_use]
    pub fn parse(text: &str) -> Option<Severity> {
        Self::ALL.into_iter().find(|severity| severity.as_str() == text)
    }

    /// 1 for low to 5 for critical.
    #[must_use]
    pub fn from_rank(rank: i64) -> Option<Severity> {
        Self::ALL.get(usize::try_from(rank.checked_sub(1)?).ok()?).copied()
    }

    /// The name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Low => "low",
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }
}

/// A normalised event: the attributes that the host itself reads, and all attributes as they are shown to plugins and
/// clients (`name`, `status`, `severity`, `source`, `labels`, `lastReceived`, ..., unknown ones kept).
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// The series the event belongs to.
    pub fingerprint: Fingerprint,
    /// Its state.
    pub status: Status,
    /// Its severity.
    pub severity: Severity,
    /// `lastReceived`: when the sender says it happened. Never used for windows.
    pub last_received: Timestamp,
    /// Provider type (`prometheus`, ...), or the first source where the sender named none.
    pub source: String,
    /// The affected service, if known.
    pub service: Option<String>,
    /// Whether the sender gave an `id`; a generated one is not part of the content digest.
    pub id_generated: bool,
    /// Everything, canonical.
    pub attributes: Object,
}

/// An accepted event on its way through the worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its position in the journal.
    pub seq: Seq,
    /// When it was accepted: the storage time of the reference, and `now` for everything it causes.
    pub accepted: Timestamp,
    /// Whose it is.
    pub tenant: TenantId,
    /// The occurrence.
    pub event_id: EventId,
    /// The content, for deduplication.
    pub digest: crate::digest::ContentDigest,
    /// The alert.
    pub alert: Alert,
}

impl Alert {
    /// Reads the attributes that the host itself uses again, after a patch changed `attributes`. Status, fingerprint
    /// and time cannot be patched (I5).
    pub fn reread(&mut self) {
        if let Some(Value::Text(text)) = self.attributes.get("severity")
            && let Some(severity) = Severity::parse(text)
        {
            self.severity = severity;
        }
        self.service = self
            .attributes
            .get("service")
            .and_then(Value::as_text)
            .map(str::to_owned);
    }
}
