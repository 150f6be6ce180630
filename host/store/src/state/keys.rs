//! Keys. The first byte says what the record is; then come texts, each with its length before it, so that no two
//! different lists of texts give the same key; numbers are big-endian, so that byte order is numeric order.
//!
//! A text over its limit is represented by its digest behind an impossible length. No key is longer than 1 KiB.

use donjon_core::batch::KvSpace;
use donjon_core::digest::fingerprint_of_values;
use donjon_core::outbox::OutboxWindow;
use donjon_core::{Fingerprint, GroupKey, IncidentId, RuleId, Seq, TenantId, Timestamp, Value};

use crate::limits::{MAX_KEY_GROUP_BYTES, MAX_KEY_TEXT_BYTES};

/// Stands where a length would be: a digest follows.
const DIGEST: u16 = u16::MAX;
/// SHA-256 in hex.
const DIGEST_BYTES: usize = 64;

/// What the records under a first byte are. Stored: never changed, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Space {
    Meta = b'M',
    Alert = b'a',
    History = b'h',
    Incident = b'i',
    GroupHead = b'g',
    Link = b'l',
    /// Which incidents an alert is linked to; no value.
    AlertLink = b'r',
    Rule = b'R',
    RuleVersion = b'v',
    RuleStats = b'S',
    Tenant = b'T',
    /// The outbox as version 1 kept it, by running number.
    NumberedOutbox = b'o',
    Outbox = b'e',
    DeadLetter = b'd',
    /// What became of a command, by the digest of its key.
    RememberedCommand = b'c',
    /// The digests of keys in the order of their use.
    RememberedKey = b'n',
    /// The data of plugins as it was kept without tenants.
    PluginKvOfNobody = b'k',
    PluginKv = b'p',
    PluginKvUsage = b'u',
    /// Which values of plugins expire, by time; no value.
    PluginKvExpiry = b'x',
}

#[cfg(feature = "simulation")]
impl Space {
    const ALL: [Space; 18] = [
        Space::Meta,
        Space::Alert,
        Space::History,
        Space::Incident,
        Space::GroupHead,
        Space::Link,
        Space::AlertLink,
        Space::Rule,
        Space::RuleVersion,
        Space::RuleStats,
        Space::Tenant,
        Space::Outbox,
        Space::DeadLetter,
        Space::RememberedCommand,
        Space::RememberedKey,
        Space::PluginKv,
        Space::PluginKvUsage,
        Space::PluginKvExpiry,
    ];

    /// What is under a key.
    pub(crate) fn of(key: &[u8]) -> Option<Space> {
        let first = *key.first()?;
        Space::ALL.into_iter().find(|space| *space as u8 == first)
    }
}

fn space(space: Space) -> Vec<u8> {
    let mut key = Vec::with_capacity(128);
    key.push(space as u8);
    key
}

fn push_text(key: &mut Vec<u8>, text: &str) {
    match u16::try_from(text.len()) {
        Ok(len) if text.len() <= MAX_KEY_TEXT_BYTES => {
            key.extend_from_slice(&len.to_be_bytes());
            key.extend_from_slice(text.as_bytes());
        }
        _ => push_digest(key, &[text]),
    }
}

fn push_digest(key: &mut Vec<u8>, texts: &[&str]) {
    let values: Vec<Value> = texts.iter().map(|text| Value::text(*text)).collect();
    let values: Vec<Option<&Value>> = values.iter().map(Some).collect();
    key.extend_from_slice(&DIGEST.to_be_bytes());
    key.extend_from_slice(fingerprint_of_values(&values).as_bytes());
}

/// Everything of one kind.
pub(super) fn all(of: Space) -> Vec<u8> {
    space(of)
}

/// Everything of one kind of one tenant.
pub(super) fn of_tenant(of: Space, tenant: &TenantId) -> Vec<u8> {
    let mut key = space(of);
    push_text(&mut key, tenant.as_str());
    key
}

pub(crate) fn meta() -> Vec<u8> {
    space(Space::Meta)
}

pub(super) fn alert(tenant: &TenantId, fingerprint: &Fingerprint) -> Vec<u8> {
    let mut key = of_tenant(Space::Alert, tenant);
    push_text(&mut key, fingerprint.as_str());
    key
}

pub(super) fn history(tenant: &TenantId, fingerprint: &Fingerprint, number: u32) -> Vec<u8> {
    let mut key = of_tenant(Space::History, tenant);
    push_text(&mut key, fingerprint.as_str());
    key.extend_from_slice(&number.to_be_bytes());
    key
}

pub(super) fn incident(tenant: &TenantId, id: IncidentId) -> Vec<u8> {
    let mut key = of_tenant(Space::Incident, tenant);
    key.extend_from_slice(&id.0);
    key
}

pub(super) fn group_head(tenant: &TenantId, rule: &RuleId, group: &GroupKey) -> Vec<u8> {
    let mut key = of_tenant(Space::GroupHead, tenant);
    push_text(&mut key, rule.as_str());
    let mut values = Vec::new();
    for value in group.values() {
        // A value is at most 512 bytes long (`MAX_GROUP_VALUE_BYTES`): the length fits, and is never `DIGEST`.
        let len = u16::try_from(value.len()).unwrap_or(DIGEST);
        values.extend_from_slice(&len.to_be_bytes());
        values.extend_from_slice(value.as_bytes());
    }
    if values.len() <= MAX_KEY_GROUP_BYTES {
        key.extend_from_slice(&values);
    } else {
        let texts: Vec<&str> = group.values().iter().map(String::as_str).collect();
        push_digest(&mut key, &texts);
    }
    key
}

/// All links of an incident.
pub(super) fn links(tenant: &TenantId, incident: IncidentId) -> Vec<u8> {
    let mut key = of_tenant(Space::Link, tenant);
    key.extend_from_slice(&incident.0);
    key
}

pub(super) fn link(tenant: &TenantId, incident: IncidentId, fingerprint: &Fingerprint) -> Vec<u8> {
    let mut key = links(tenant, incident);
    push_text(&mut key, fingerprint.as_str());
    key
}

/// All incidents of an alert.
pub(super) fn alert_links(tenant: &TenantId, fingerprint: &Fingerprint) -> Vec<u8> {
    let mut key = of_tenant(Space::AlertLink, tenant);
    push_text(&mut key, fingerprint.as_str());
    key
}

pub(super) fn alert_link(tenant: &TenantId, fingerprint: &Fingerprint, incident: IncidentId) -> Vec<u8> {
    let mut key = alert_links(tenant, fingerprint);
    key.extend_from_slice(&incident.0);
    key
}

/// Whether the value of a key is a record in an envelope: all but those of two kinds are.
pub(super) fn has_record(key: &[u8]) -> bool {
    let empty = [Space::AlertLink as u8, Space::PluginKvExpiry as u8];
    key.first().is_none_or(|first| !empty.contains(first))
}

/// The incident at the end of an `alert_link` key.
pub(super) fn incident_of_alert_link(key: &[u8]) -> Option<IncidentId> {
    key.last_chunk().copied().map(IncidentId)
}

pub(super) fn rule(of: Space, tenant: &TenantId, id: &RuleId) -> Vec<u8> {
    let mut key = of_tenant(of, tenant);
    push_text(&mut key, id.as_str());
    key
}

pub(super) fn rule_version(tenant: &TenantId, id: &RuleId, version: u32) -> Vec<u8> {
    let mut key = rule(Space::RuleVersion, tenant, id);
    key.extend_from_slice(&version.to_be_bytes());
    key
}

pub(super) fn outbox(tenant: &TenantId, window: OutboxWindow) -> Vec<u8> {
    let mut key = of_tenant(Space::Outbox, tenant);
    key.extend_from_slice(&window.0.to_be_bytes());
    key
}

/// The window at the end of an `outbox` key.
pub(super) fn window_of_outbox(key: &[u8]) -> Option<OutboxWindow> {
    key.last_chunk().map(|bytes| OutboxWindow(u64::from_be_bytes(*bytes)))
}

pub(super) fn dead_letter(tenant: &TenantId, seq: Seq) -> Vec<u8> {
    let mut key = of_tenant(Space::DeadLetter, tenant);
    key.extend_from_slice(&seq.0.to_be_bytes());
    key
}

/// The position at the end of a `dead_letter` key.
pub(super) fn seq_of_dead_letter(key: &[u8]) -> Option<Seq> {
    key.last_chunk().map(|bytes| Seq(u64::from_be_bytes(*bytes)))
}

pub(super) fn remembered_command(tenant: &TenantId, digest: &[u8; 32]) -> Vec<u8> {
    let mut key = of_tenant(Space::RememberedCommand, tenant);
    key.extend_from_slice(digest);
    key
}

pub(super) fn remembered_key(tenant: &TenantId, number: u64) -> Vec<u8> {
    let mut key = of_tenant(Space::RememberedKey, tenant);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// The beginning of all keys of a plugin and a tenant. What follows is the plugin's own key as it is: prefixes of it are
/// prefixes.
pub(super) fn plugin_kv_space(of: &KvSpace) -> Vec<u8> {
    in_kv_space(space(Space::PluginKv), of)
}

pub(super) fn plugin_kv(of: &KvSpace, plugin_key: &str) -> Vec<u8> {
    let mut key = plugin_kv_space(of);
    key.extend_from_slice(plugin_key.as_bytes());
    key
}

pub(super) fn plugin_kv_usage(of: &KvSpace) -> Vec<u8> {
    in_kv_space(space(Space::PluginKvUsage), of)
}

pub(super) fn plugin_kv_expiry(expires: Timestamp, of: &KvSpace, plugin_key: &str) -> Vec<u8> {
    let mut key = space(Space::PluginKvExpiry);
    key.extend_from_slice(&expires.0.to_be_bytes());
    let mut key = in_kv_space(key, of);
    key.extend_from_slice(plugin_key.as_bytes());
    key
}

fn in_kv_space(mut key: Vec<u8>, of: &KvSpace) -> Vec<u8> {
    push_text(&mut key, of.tenant.as_str());
    push_text(&mut key, &of.plugin);
    key
}

/// What a `plugin_kv_expiry` key says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct KvExpiry {
    /// When.
    pub(super) expires: Timestamp,
    /// The key of the value.
    pub(super) value: Vec<u8>,
    /// The key of the usage of its space.
    pub(super) usage: Vec<u8>,
    /// Length of the plugin's own key.
    pub(super) plugin_key_len: usize,
}

/// Reads a `plugin_kv_expiry` key.
pub(super) fn read_plugin_kv_expiry(key: &[u8]) -> Option<KvExpiry> {
    let (expires, rest) = key.get(1..)?.split_first_chunk()?;
    let plugin_key = skip_text(skip_text(rest)?)?;
    let of = rest.strip_suffix(plugin_key)?;
    let with = |kind: Space, rest: &[u8]| {
        let mut key = space(kind);
        key.extend_from_slice(rest);
        key
    };
    Some(KvExpiry {
        expires: Timestamp(u64::from_be_bytes(*expires)),
        value: with(Space::PluginKv, rest),
        usage: with(Space::PluginKvUsage, of),
        plugin_key_len: plugin_key.len(),
    })
}

/// What follows a text, or the digest in its place.
fn skip_text(bytes: &[u8]) -> Option<&[u8]> {
    let (len, rest) = bytes.split_first_chunk()?;
    match u16::from_be_bytes(*len) {
        DIGEST => rest.get(DIGEST_BYTES..),
        len => rest.get(usize::from(len)..),
    }
}
