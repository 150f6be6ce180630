//! Identifiers and units as types, so that a seq is never taken for a time. Knows no encoding of them but text.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest, Sha256};

/// Position of an entry in the journal; the first is 1, 0 means "before everything".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The position after this one.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This time `ms` milliseconds earlier, not before the epoch.
    #[must_use]
    pub fn minus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_sub(ms))
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                $name(Arc::from(text))
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                $name(Arc::from(text))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(
    /// Whose data it is. Everything derived is kept per tenant.
    TenantId
);
text_id!(
    /// Names a series of events: an alert.
    Fingerprint
);
text_id!(
    /// Names one received occurrence (`event_id`).
    EventId
);
text_id!(
    /// Names a rule, or a policy that a plugin brought along.
    RuleId
);

/// Names an incident; shown as a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IncidentId(pub [u8; 16]);

impl IncidentId {
    /// The identifier of the incident that the entry `seq` opened for a rule and group. A pure function of what caused
    /// the incident (I10), shaped like a version 8 UUID (RFC 9562, section 5.8).
    #[must_use]
    pub fn derive(tenant: &TenantId, rule: &RuleId, group: &GroupKey, seq: Seq) -> IncidentId {
        let mut hash = Sha256::new();
        for part in [tenant.as_str(), rule.as_str()]
            .into_iter()
            .chain(group.values().iter().map(String::as_str))
        {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        hash.update(seq.0.to_be_bytes());
        let mut id = [0u8; 16];
        for (to, from) in id.iter_mut().zip(hash.finalize()) {
            *to = from;
        }
        if let Some(byte) = id.get_mut(6) {
            *byte = (*byte & 0x0f) | 0x80;
        }
        if let Some(byte) = id.get_mut(8) {
            *byte = (*byte & 0x3f) | 0x80;
        }
        IncidentId(id)
    }

    /// Reads the UUID form, hyphens optional.
    #[must_use]
    pub fn parse(text: &str) -> Option<IncidentId> {
        let hex: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
        if hex.len() != 32 || text.len() > 36 {
            return None;
        }
        let mut id = [0u8; 16];
        for (to, pair) in id.iter_mut().zip(hex.chunks(2)) {
            let digits = std::str::from_utf8(pair).ok()?;
            *to = u8::from_str_radix(digits, 16).ok()?;
        }
        Some(IncidentId(id))
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// The values that name a group of a rule, in the order of the rule's grouping paths. The identity of a group is this
/// list; its comma-joined form exists for the reference's clients only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey(Vec<String>);

impl GroupKey {
    /// A group key of these values. One over the limit is cut and ends with its digest, so that different values stay
    /// different groups.
    #[must_use]
    pub fn new(mut values: Vec<String>) -> GroupKey {
        for value in &mut values {
            if value.len() > crate::limits::MAX_GROUP_VALUE_BYTES {
                let digest = crate::digest::fingerprint_of_values(&[Some(&crate::Value::text(value.as_str()))]);
                let kept = crate::limits::MAX_GROUP_VALUE_BYTES - 1 - digest.len();
                *value = format!("{}#{digest}", crate::limits::cut(value, kept));
            }
        }
        GroupKey(values)
    }

    /// The values.
    #[must_use]
    pub fn values(&self) -> &[String] {
        &self.0
    }

    /// The form of the reference (`rule_fingerprint`).
    #[must_use]
    pub fn joined(&self) -> String {
        self.0.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incident_ids_read_what_they_print_and_tell_groups_apart() {
        let tenant = TenantId::from("t");
        let rule = RuleId::from("r");
        let a = IncidentId::derive(&tenant, &rule, &GroupKey::new(vec!["a,b".into(), "c".into()]), Seq(1));
        let b = IncidentId::derive(&tenant, &rule, &GroupKey::new(vec!["a".into(), "b,c".into()]), Seq(1));
        assert_ne!(a, b);
        assert_eq!(IncidentId::parse(&a.to_string()), Some(a));
        assert_eq!(a.to_string().as_bytes()[14], b'8');
        assert_eq!(IncidentId::parse("not an id"), None);
    }
}
