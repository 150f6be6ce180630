//! Pages of lists: every record of a kind is looked at, only those of the page are kept. Knows no filter and no format of an answer.

use std::cmp::Reverse;
use std::ops::ControlFlow;

use donjon_core::command::DeadLetter;
use donjon_core::rule::Rule;
use donjon_core::state::StateError;
use donjon_core::{Fingerprint, IncidentId, RuleId, Seq, TenantId};

use super::Top;
use super::keys::{self, Space};
use super::kv::{Order, Page};
use super::reader::{StateReader, damaged, decode};
use crate::limits::SCAN_PIECE;
use crate::record;

/// Asked after each piece of a scan whether the result is still wanted; a break ends the scan early.
pub type Progress<'a> = &'a mut dyn FnMut() -> ControlFlow<()>;

/// A page of the members of an incident.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberPage {
    /// Who they are, the newest member first.
    pub fingerprints: Vec<Fingerprint>,
    /// How many there are in all.
    pub count: usize,
}

impl StateReader {
    /// The `keep` alerts of a tenant with the newest events, newest first. Looks at all alerts and keeps nothing of the others.
    ///
    /// # Errors
    /// As `applied`.
    pub fn newest_alerts(
        &self,
        tenant: &TenantId,
        keep: usize,
        progress: Progress<'_>,
    ) -> Result<Vec<Fingerprint>, StateError> {
        let mut newest = Top::new(keep);
        self.scan_while(&keys::of_tenant(Space::Alert, tenant), progress, |_, bytes| {
            let (seq, fingerprint) = record::alert_head(bytes).map_err(|error| damaged("alert", &error))?;
            newest.offer(Reverse(seq), || Fingerprint::from(&*fingerprint));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(newest.into_values())
    }

    /// The `keep` newest members of an incident, and how many there are; unlinked ones count only if asked for. Reads no explanations.
    ///
    /// # Errors
    /// As `applied`.
    pub fn newest_members(
        &self,
        tenant: &TenantId,
        incident: IncidentId,
        unlinked_too: bool,
        keep: usize,
        progress: Progress<'_>,
    ) -> Result<MemberPage, StateError> {
        let mut newest = Top::new(keep);
        let mut count = 0;
        self.scan_while(&keys::links(tenant, incident), progress, |_, bytes| {
            let head = record::link_head(bytes).map_err(|error| damaged("link", &error))?;
            if unlinked_too || !head.is_unlinked {
                count += 1;
                // Of members that joined with one event (merged incidents) the later key is the newer one, as it always was.
                newest.offer(Reverse((head.joined_seq, count)), || {
                    Fingerprint::from(&*head.fingerprint)
                });
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(MemberPage {
            fingerprints: newest.into_values(),
            count,
        })
    }

    /// The rules of a tenant that are not deleted, in the order of their creation: who they are. Of those that one command
    /// created, keys are in the order of identifiers, and the first one offered comes first.
    ///
    /// # Errors
    /// As `applied`.
    pub fn rule_ids(&self, tenant: &TenantId, keep: usize, progress: Progress<'_>) -> Result<Vec<RuleId>, StateError> {
        let mut oldest = Top::new(keep);
        self.scan_while(&keys::of_tenant(Space::Rule, tenant), progress, |_, bytes| {
            let rule: Rule = decode("rule", bytes)?;
            if !rule.deleted {
                oldest.offer(rule.created_seq, || rule.id.clone());
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(oldest.into_values())
    }

    /// At most `limit` dead letters of a tenant behind the first `skip`, newest first.
    ///
    /// # Errors
    /// As `applied`.
    pub fn dead_letters(
        &self,
        tenant: &TenantId,
        skip: usize,
        limit: usize,
    ) -> Result<Vec<(Seq, DeadLetter)>, StateError> {
        let prefix = keys::of_tenant(Space::DeadLetter, tenant);
        let (mut letters, mut left, mut beyond) = (Vec::new(), skip, None::<Vec<u8>>);
        while letters.len() < limit {
            let pairs = self.kv().page(Page {
                prefix: &prefix,
                beyond: beyond.as_deref(),
                order: Order::Descending,
                limit: SCAN_PIECE,
            })?;
            let skipped = left.min(pairs.len());
            left -= skipped;
            for (key, bytes) in pairs.iter().skip(skipped).take(limit - letters.len()) {
                let seq = keys::seq_of_dead_letter(key).unwrap_or_default();
                letters.push((seq, decode("dead letter", bytes)?));
            }
            if pairs.len() < SCAN_PIECE {
                break;
            }
            beyond = pairs.into_iter().next_back().map(|(key, _)| key);
        }
        Ok(letters)
    }
}
