//! What happened, for the outside: written with the batch that caused it (I2), delivered afterwards, at least once.
//!
//! A record holds what a fixed window of journal positions changed for one tenant, each change with the position of its
//! newest cause. So records are a function of the journal, wherever batches began and ended (I10), and a client that
//! names the last position it saw is told exactly what came after it. Knows no bytes and no clients.

use std::collections::BTreeMap;

use crate::ids::{Fingerprint, IncidentId, Seq, TenantId};
use crate::limits::{MAX_OUTBOX_INCIDENTS, MAX_POLL_FINGERPRINTS, OUTBOX_KEPT_WINDOWS, OUTBOX_WINDOW_ENTRIES};

/// What happened to an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncidentAction {
    /// It became visible.
    Created,
    /// Something about it changed.
    Updated,
    /// It was deleted.
    Deleted,
}

/// A window of journal positions: those of one record. Its borders are the same in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxWindow(pub u64);

impl OutboxWindow {
    /// The window of a position.
    #[must_use]
    pub fn of(seq: Seq) -> OutboxWindow {
        OutboxWindow(seq.0 / OUTBOX_WINDOW_ENTRIES)
    }

    /// Its first position.
    #[must_use]
    pub fn first(self) -> Seq {
        Seq(self.0.saturating_mul(OUTBOX_WINDOW_ENTRIES))
    }

    /// Its last position.
    #[must_use]
    pub fn last(self) -> Seq {
        Seq(self.first().0.saturating_add(OUTBOX_WINDOW_ENTRIES - 1))
    }

    /// The oldest window that a tenant keeps when this is its newest one.
    #[must_use]
    pub fn oldest_kept(self) -> OutboxWindow {
        OutboxWindow(self.0.saturating_sub(OUTBOX_KEPT_WINDOWS - 1))
    }
}

/// What happened to one incident within a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// What happened last.
    pub action: IncidentAction,
    /// The entry that it happened with.
    pub seq: Seq,
    /// The entry that showed the incident, if one of the window did.
    pub shown: Option<Seq>,
}

/// Changed things by name, or that there were too many to name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched<K, T> {
    /// These, in the order of their names.
    Named(BTreeMap<K, T>),
    /// Too many to name, the last of them with this entry: reload everything.
    TooMany(Seq),
}

/// Everything that the entries of one window have to say to one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRecord {
    /// Whom it concerns.
    pub tenant: TenantId,
    /// Whose entries.
    pub window: OutboxWindow,
    /// Touched visible incidents.
    pub incidents: Touched<IncidentId, Touch>,
    /// Changed alerts, each with its newest entry.
    pub alerts: Touched<Fingerprint, Seq>,
    /// The newest entry that changed rules.
    pub rules: Option<Seq>,
}

impl OutboxRecord {
    /// A record that says nothing yet.
    #[must_use]
    pub fn new(tenant: TenantId, window: OutboxWindow) -> OutboxRecord {
        OutboxRecord {
            tenant,
            window,
            incidents: Touched::Named(BTreeMap::new()),
            alerts: Touched::Named(BTreeMap::new()),
            rules: None,
        }
    }

    /// The entry `seq` did this to an incident.
    pub fn touch_incident(&mut self, id: IncidentId, action: IncidentAction, seq: Seq) {
        let shown = (action == IncidentAction::Created).then_some(seq);
        let Touched::Named(known) = &mut self.incidents else {
            self.incidents = Touched::TooMany(seq);
            return;
        };
        if let Some(touch) = known.get_mut(&id) {
            // Whatever else the entry did to the incident that it showed: it showed it.
            let same_entry = touch.shown == Some(seq) && action == IncidentAction::Updated;
            *touch = Touch {
                action: if same_entry { touch.action } else { action },
                seq,
                shown: shown.or(touch.shown),
            };
        } else if known.len() < MAX_OUTBOX_INCIDENTS {
            known.insert(id, Touch { action, seq, shown });
        } else {
            self.incidents = Touched::TooMany(seq);
        }
    }

    /// The entry `seq` changed an alert.
    pub fn touch_alert(&mut self, fingerprint: &Fingerprint, seq: Seq) {
        match &mut self.alerts {
            Touched::Named(known) if known.contains_key(fingerprint) || known.len() < MAX_POLL_FINGERPRINTS => {
                known.insert(fingerprint.clone(), seq);
            }
            Touched::Named(_) | Touched::TooMany(_) => self.alerts = Touched::TooMany(seq),
        }
    }

    /// The entry `seq` changed rules.
    pub fn touch_rules(&mut self, seq: Seq) {
        self.rules = Some(seq);
    }
}

/// Changed things for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed<T> {
    /// These.
    These(Vec<T>),
    /// Too many to name: everything may have changed.
    Everything,
}

/// What a client that has seen everything up to some entry is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Touched visible incidents, in the order of their last change.
    pub incidents: Changed<(IncidentId, IncidentAction)>,
    /// Changed alerts.
    pub alerts: Changed<Fingerprint>,
    /// Whether rules changed.
    pub rules: bool,
}

impl News {
    /// Puts together what records of one tenant say about the entries after `after` up to `upto`. What also changed with
    /// a later entry is left for the next time: nothing is missed, it is told once.
    #[must_use]
    pub fn between(records: &[OutboxRecord], after: Seq, upto: Seq) -> News {
        let new = |seq: Seq| seq > after && seq <= upto;
        let mut incidents = Some(BTreeMap::<IncidentId, Touch>::new());
        let mut alerts = Some(BTreeMap::<&Fingerprint, Seq>::new());
        for record in records {
            match &record.incidents {
                Touched::Named(named) => {
                    let named = named.iter().filter(|(_, touch)| new(touch.seq));
                    for (id, touch) in named {
                        if let Some(known) = &mut incidents {
                            let shown = touch.shown.or(known.get(id).and_then(|known| known.shown));
                            known.insert(*id, Touch { shown, ..*touch });
                        }
                    }
                }
                Touched::TooMany(seq) if new(*seq) => incidents = None,
                Touched::TooMany(_) => {}
            }
            match &record.alerts {
                Touched::Named(named) => {
                    if let Some(known) = &mut alerts {
                        known.extend(
                            named
                                .iter()
                                .filter(|(_, seq)| new(**seq))
                                .map(|(name, seq)| (name, *seq)),
                        );
                    }
                }
                Touched::TooMany(seq) if new(*seq) => alerts = None,
                Touched::TooMany(_) => {}
            }
        }
        News {
            incidents: incidents
                .filter(|known| known.len() <= MAX_OUTBOX_INCIDENTS)
                .map_or(Changed::Everything, |known| Changed::These(in_order(known, after))),
            alerts: alerts
                .filter(|known| known.len() <= MAX_POLL_FINGERPRINTS)
                .map_or(Changed::Everything, |known| {
                    Changed::These(known.into_keys().cloned().collect())
                }),
            rules: records.iter().any(|record| record.rules.is_some_and(new)),
        }
    }
}

/// A client that did not see an incident appear is told that it did, whatever changed about it since.
fn in_order(known: BTreeMap<IncidentId, Touch>, after: Seq) -> Vec<(IncidentId, IncidentAction)> {
    let mut touched: Vec<(IncidentId, Touch)> = known.into_iter().collect();
    touched.sort_by_key(|(_, touch)| touch.seq);
    let action = |touch: Touch| match touch.action {
        IncidentAction::Updated if touch.shown.is_some_and(|seq| seq > after) => IncidentAction::Created,
        action => action,
    };
    touched.into_iter().map(|(id, touch)| (id, action(touch))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> IncidentId {
        IncidentId([n; 16])
    }

    fn record(touches: &[(u8, IncidentAction, u64)]) -> OutboxRecord {
        let mut record = OutboxRecord::new(TenantId::from("t"), OutboxWindow(0));
        for (incident, action, seq) in touches {
            record.touch_incident(id(*incident), *action, Seq(*seq));
        }
        record
    }

    #[test]
    fn a_client_is_told_what_came_after_the_position_it_names() {
        use IncidentAction::{Created, Deleted, Updated};
        let record = record(&[
            (1, Created, 1),
            (1, Updated, 1),
            (2, Created, 2),
            (1, Updated, 5),
            (2, Deleted, 6),
            (2, Updated, 8),
        ]);
        let check = |after: u64, upto: u64, expected: &[(u8, IncidentAction)]| {
            let expected: Vec<_> = expected.iter().map(|(n, action)| (id(*n), *action)).collect();
            let news = News::between(std::slice::from_ref(&record), Seq(after), Seq(upto));
            assert_eq!(news.incidents, Changed::These(expected), "after {after} up to {upto}");
        };
        check(0, 9, &[(1, Created), (2, Created)]);
        check(1, 9, &[(1, Updated), (2, Created)]);
        check(2, 9, &[(1, Updated), (2, Updated)]);
        check(5, 9, &[(2, Updated)]);
        check(8, 9, &[]);
        // What changed again with an entry that is not told yet is told with that one.
        check(0, 6, &[(1, Created)]);
    }

    #[test]
    fn too_many_to_name_means_reload_everything_and_is_told_once() {
        let mut record = record(&[]);
        for n in 0..=MAX_OUTBOX_INCIDENTS {
            let mut bytes = [0u8; 16];
            bytes[..8].copy_from_slice(&(n as u64).to_be_bytes());
            record.touch_incident(IncidentId(bytes), IncidentAction::Updated, Seq(7));
        }
        for n in 0..=MAX_POLL_FINGERPRINTS {
            record.touch_alert(&Fingerprint::from(n.to_string()), Seq(8));
        }
        let news = |after| News::between(std::slice::from_ref(&record), Seq(after), Seq(20));
        assert_eq!(
            (news(6).incidents, news(6).alerts),
            (Changed::Everything, Changed::Everything)
        );
        assert_eq!(
            (news(7).incidents, news(7).alerts),
            (Changed::These(vec![]), Changed::Everything)
        );
        assert_eq!(news(8).alerts, Changed::These(vec![]));
    }

    #[test]
    fn windows_have_fixed_borders() {
        let window = OutboxWindow::of(Seq(OUTBOX_WINDOW_ENTRIES * 3 + 1));
        assert_eq!(
            (window, window.first()),
            (OutboxWindow(3), Seq(OUTBOX_WINDOW_ENTRIES * 3))
        );
        assert_eq!(OutboxWindow::of(window.last()), window);
        assert_eq!(OutboxWindow::of(window.last().next()), OutboxWindow(4));
    }
}
