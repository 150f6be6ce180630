//! Arbitrary values of every stored domain type.

use donjon_core::alert::{Severity, Status};
use donjon_core::alert_state::{AlertState, StoredEvent};
use donjon_core::batch::{KvSpace, KvValue, KvWrite, OnMissingGroup, Scalar};
use donjon_core::branch_set::BranchSet;
use donjon_core::command::{
    AppliedRule, Command, CommandKey, CommandOutcome, Condition, DeadLetter, Guard, RememberedCommand, RuleChange,
    RuleIs,
};
use donjon_core::digest::ContentDigest;
use donjon_core::incident::{
    Explanation, Incident, IncidentStatus, Link, MemberView, Members, NameOrigin, PlaceholderValues, Visibility,
};
use donjon_core::outbox::{IncidentAction, OutboxRecord, OutboxWindow};
use donjon_core::rule::{CreateOn, ResolveOn, Rule, RuleDraft, RuleError, RuleStats};
use donjon_core::state::{ForgottenKey, HistoryChunk, TenantState, WriteSet};
use donjon_core::{EventId, Fingerprint, GroupKey, IncidentId, RuleId, Seq, TenantId, Timestamp};

use super::Draw;
use crate::journal::{EntryBody, NewEntry};

impl Draw {
    pub(crate) fn time(&mut self) -> Timestamp {
        Timestamp(self.u64())
    }

    pub(crate) fn tenant(&mut self) -> TenantId {
        TenantId::from(self.one_of(&["", "default", "acme", "acme,corp", "漢"]))
    }

    pub(crate) fn fingerprint(&mut self) -> Fingerprint {
        Fingerprint::from(self.text())
    }

    pub(crate) fn incident_id(&mut self) -> IncidentId {
        IncidentId(self.bytes16())
    }

    pub(crate) fn rule_id(&mut self) -> RuleId {
        RuleId::from(self.text())
    }

    pub(crate) fn group(&mut self) -> GroupKey {
        GroupKey::new(self.list(Draw::text))
    }

    pub(crate) fn event(&mut self) -> StoredEvent {
        StoredEvent {
            seq: Seq(self.u64()),
            accepted: self.time(),
            status: self.one_of(&Status::ALL),
            firing_counter: self.u32(),
            unresolved_counter: self.u32(),
            firing_start: self.maybe(Draw::time),
            firing_start_since_resolved: self.maybe(Draw::time),
        }
    }

    pub(crate) fn alert_state(&mut self) -> AlertState {
        AlertState {
            tenant: self.tenant(),
            fingerprint: self.fingerprint(),
            last_event: self.event(),
            last_event_id: EventId::from(self.text()),
            first_accepted: self.time(),
            digest: ContentDigest(self.bytes16()),
            severity: self.one_of(&Severity::ALL),
            last_received: self.time(),
            received_range: (self.time(), self.time()),
            status_override: self.maybe(|draw| draw.one_of(&Status::ALL)),
            duplicates: self.u64(),
            event_count: self.u64(),
            enrichments: self.list(|draw| (draw.text(), draw.maybe(Draw::text))),
            plugin_failure: self.maybe(Draw::text),
            open_links: self.list(Draw::incident_id),
            recent: self.list(Draw::event),
            history_chunks: self.u32(),
        }
    }

    pub(crate) fn history_chunk(&mut self) -> HistoryChunk {
        HistoryChunk {
            tenant: self.tenant(),
            fingerprint: self.fingerprint(),
            number: self.u32(),
            events: self.list(Draw::event),
        }
    }

    fn members(&mut self) -> Members {
        let mut by_status = [0; 6];
        by_status.fill_with(|| self.u32());
        let mut by_severity = [0; 5];
        by_severity.fill_with(|| self.u32());
        Members {
            count: self.u32(),
            by_status,
            by_severity,
            occurrences: self.u64(),
            branches: BranchSet::from_words(self.list(Draw::u64)),
            newest_event: self.time(),
            first: self.maybe(|draw| (draw.fingerprint(), draw.flag())),
        }
    }

    pub(crate) fn incident(&mut self) -> Incident {
        Incident {
            id: self.incident_id(),
            tenant: self.tenant(),
            running_number: self.u64(),
            created_seq: Seq(self.u64()),
            created: self.time(),
            rule: self.rule_id(),
            rule_version: self.u32(),
            rule_name: self.text(),
            group_key: self.group(),
            name: self.text(),
            name_origin: self.one_of(&[NameOrigin::Rule, NameOrigin::Person]),
            name_values: self.list(|draw| PlaceholderValues(draw.list(|draw| (draw.text(), draw.u32())))),
            label: self.maybe(Draw::text),
            status: self.one_of(&IncidentStatus::ALL),
            visibility: self.one_of(&[Visibility::Hidden, Visibility::Candidate, Visibility::Visible]),
            severity: self.one_of(&Severity::ALL),
            severity_forced: self.flag(),
            resolve_on: self.resolve_on(),
            assignee: self.maybe(Draw::text),
            start: self.maybe(Draw::time),
            last_seen: self.maybe(Draw::time),
            end: self.maybe(Draw::time),
            sources: self.list(Draw::text),
            services: self.list(Draw::text),
            past_incident: self.maybe(Draw::incident_id),
            merged_into: self.maybe(Draw::incident_id),
            members: self.members(),
        }
    }

    fn resolve_on(&mut self) -> ResolveOn {
        self.one_of(&[ResolveOn::First, ResolveOn::Last, ResolveOn::All, ResolveOn::Never])
    }

    fn scalar(&mut self) -> Scalar {
        match self.below(6) {
            0 => Scalar::Null,
            1 => Scalar::Bool(self.flag()),
            2 => Scalar::Int(self.u64().cast_signed()),
            3 => Scalar::Float(f64::from(self.u32()) / 7.0),
            4 => Scalar::Text(self.text()),
            _ => Scalar::Json(self.text()),
        }
    }

    pub(crate) fn link(&mut self) -> Link {
        let explanation = Explanation {
            rule: self.rule_id(),
            rule_version: self.u32(),
            event_id: EventId::from(self.text()),
            branches: self.list(|draw| (draw.u32(), draw.text())),
            group_key: self.group(),
            values: self.list(|draw| (draw.text(), draw.scalar())),
            plugin: (self.text(), self.text()),
        };
        Link {
            incident: self.incident_id(),
            fingerprint: self.fingerprint(),
            joined_seq: Seq(self.u64()),
            joined: self.time(),
            explanation,
            name_values: self.list(Draw::text),
            unlinked: self.maybe(Draw::time),
            let_go: self.maybe(|draw| MemberView {
                status: draw.one_of(&Status::ALL),
                severity: draw.one_of(&Severity::ALL),
                unresolved: draw.u32(),
            }),
        }
    }

    pub(crate) fn rule_draft(&mut self) -> RuleDraft {
        RuleDraft {
            name: self.text(),
            condition: self.text(),
            branches: self.list(Draw::text),
            timeframe_seconds: self.u64(),
            time_unit: self.text(),
            group_by: self.list(Draw::text),
            on_missing_group: self.one_of(&[OnMissingGroup::None, OnMissingGroup::Skip]),
            group_description: self.maybe(Draw::text),
            require_approve: self.flag(),
            resolve_on: self.resolve_on(),
            create_on: self.one_of(&[CreateOn::Any, CreateOn::All]),
            name_template: self.maybe(Draw::text),
            name_prefix: self.maybe(Draw::text),
            multi_level: self.flag(),
            multi_level_property: self.maybe(Draw::text),
            threshold: self.u32(),
            assignee: self.maybe(Draw::text),
            enabled: self.flag(),
            priority: self.u32().cast_signed(),
            stop_on_match: self.flag(),
            sql_query_json: self.maybe(Draw::text),
        }
    }

    pub(crate) fn rule(&mut self) -> Rule {
        Rule {
            id: self.rule_id(),
            tenant: self.tenant(),
            version: self.u32(),
            draft: self.rule_draft(),
            created_seq: Seq(self.u64()),
            created: self.time(),
            created_by: self.text(),
            updated: self.maybe(Draw::time),
            updated_by: self.maybe(Draw::text),
            deleted: self.flag(),
            offered_at_creation: self.u64(),
        }
    }

    pub(crate) fn rule_stats(&mut self) -> RuleStats {
        RuleStats {
            matches: self.u64(),
            incidents: self.u64(),
            errors: self.u64(),
            last_match: self.maybe(Draw::time),
            last_error: self.maybe(|draw| RuleError {
                message: draw.text(),
                event_id: draw.text(),
                at: draw.time(),
            }),
        }
    }

    pub(crate) fn tenant_state(&mut self) -> TenantState {
        TenantState {
            last_running_number: self.u64(),
            offered: self.u64(),
            rules_version: self.u64(),
            keys_forgotten: self.u64(),
            keys_used: self.u64(),
        }
    }

    /// What some entries of the window of `seq`, up to it, said.
    pub(crate) fn outbox_record(&mut self, seq: Seq) -> OutboxRecord {
        let actions = [
            IncidentAction::Created,
            IncidentAction::Updated,
            IncidentAction::Deleted,
        ];
        let mut record = OutboxRecord::new(self.tenant(), OutboxWindow::of(seq));
        for seq in record.window.first().0..=seq.0 {
            for _ in 0..self.below(3) {
                record.touch_incident(self.incident_id(), self.one_of(&actions), Seq(seq));
            }
            for _ in 0..self.below(3) {
                record.touch_alert(&self.text().into(), Seq(seq));
            }
            if self.flag() {
                record.touch_rules(Seq(seq));
            }
        }
        record
    }

    pub(crate) fn dead_letter(&mut self) -> DeadLetter {
        DeadLetter {
            reason: self.text(),
            accepted: self.time(),
            provider: self.text(),
        }
    }

    pub(crate) fn kv_space(&mut self) -> KvSpace {
        let tenant = self.tenant();
        KvSpace::new(self.one_of(&["rules", "dedup"]), &tenant)
    }

    pub(crate) fn kv_value(&mut self) -> KvValue {
        KvValue {
            bytes: self.bytes(),
            version: 1 + self.below(3),
            expires: self.maybe(Draw::time),
        }
    }

    fn bytes32(&mut self) -> [u8; 32] {
        let (a, b) = (self.bytes16(), self.bytes16());
        std::array::from_fn(|at| if at < 16 { a[at] } else { b[at - 16] })
    }

    fn command_key(&mut self) -> CommandKey {
        CommandKey {
            key: self.bytes32(),
            request: self.bytes32(),
        }
    }

    pub(crate) fn guard(&mut self) -> Guard {
        let is = match self.below(3) {
            0 => RuleIs::Present,
            1 => RuleIs::Absent,
            _ => RuleIs::OneOf(self.list(Draw::u32)),
        };
        Guard {
            once: self.maybe(Draw::command_key),
            only_if: self.maybe(|draw| match draw.flag() {
                true => Condition::RulesVersion(draw.u64()),
                false => Condition::Rule { id: draw.rule_id(), is },
            }),
        }
    }

    pub(crate) fn remembered_command(&mut self) -> RememberedCommand {
        let applied = |draw: &mut Draw| AppliedRule {
            id: draw.rule_id(),
            version: draw.u32(),
            change: draw.one_of(&[RuleChange::Created, RuleChange::Changed, RuleChange::Unchanged]),
        };
        RememberedCommand {
            key: self.command_key(),
            number: self.below(20),
            accepted: self.time(),
            outcome: match self.below(11) {
                0 => CommandOutcome::Applied,
                1 => CommandOutcome::RuleStored {
                    id: self.rule_id(),
                    version: self.u32(),
                },
                2 => CommandOutcome::RulesApplied(self.list(applied)),
                3 => CommandOutcome::ConditionFailed(self.u64()),
                4 => CommandOutcome::KeyReused,
                5 => CommandOutcome::RuleNotFound,
                6 => CommandOutcome::RuleExists,
                7 => CommandOutcome::IncidentNotFound,
                8 => CommandOutcome::NotACandidate,
                9 => CommandOutcome::Rejudged(self.u64()),
                _ => CommandOutcome::NotStorable { why: self.text() },
            },
        }
    }

    pub(crate) fn command(&mut self) -> Command {
        match self.below(8) {
            0 => Command::CreateRule {
                id: self.rule_id(),
                draft: Box::new(self.rule_draft()),
            },
            1 => Command::UpdateRule {
                id: self.rule_id(),
                draft: Box::new(self.rule_draft()),
            },
            2 => Command::DeleteRule { id: self.rule_id() },
            3 => Command::SetIncidentStatus {
                incident: self.incident_id(),
                status: self.one_of(&IncidentStatus::ALL),
            },
            4 => Command::ConfirmIncident {
                incident: self.incident_id(),
            },
            5 => Command::Rejudge {
                from: Seq(self.u64()),
                to: Seq(self.u64()),
                all: self.flag(),
            },
            6 => Command::ApplyRules {
                rules: self.list(|draw| (draw.rule_id(), draw.rule_draft())),
            },
            _ => Command::DismissDeadLetters {
                seqs: self.maybe(|draw| draw.list(Draw::u64)),
            },
        }
    }

    /// An entry of some day in June 2025.
    pub(crate) fn entry(&mut self) -> NewEntry {
        let body = match self.below(5) {
            0 => EntryBody::Command {
                actor: self.text(),
                guard: if self.flag() { self.guard() } else { Guard::default() },
                command: self.command(),
            },
            1 => EntryBody::DeadLetter {
                provider: self.text(),
                reason: self.text(),
                raw: self.bytes(),
            },
            _ => EntryBody::Alert {
                event_id: EventId::from(self.text()),
                provider: self.text(),
                api_key_name: self.text(),
                document: self.bytes(),
                id_generated: self.flag(),
            },
        };
        NewEntry {
            accepted: Timestamp(1_750_000_000_000 + self.below(3 * 86_400_000)),
            tenant: self.tenant(),
            body,
        }
    }

    /// A write set of everything, with few different keys, so that write sets meet each other.
    pub(crate) fn write_set(&mut self, applied: Seq) -> WriteSet {
        WriteSet {
            applied,
            alerts: self.list(Draw::alert_state),
            history: self.list(Draw::history_chunk),
            incidents: self.list(Draw::incident),
            group_heads: self.list(|draw| (draw.tenant(), draw.rule_id(), draw.group(), draw.incident_id())),
            links: self.list(|draw| (draw.tenant(), draw.link())),
            rules: self.list(Draw::rule),
            rule_stats: self.list(|draw| (draw.tenant(), draw.rule_id(), draw.rule_stats())),
            tenants: self.list(|draw| (draw.tenant(), draw.tenant_state())),
            outbox: self.list(|draw| draw.outbox_record(applied)),
            dead_letters: self.list(|draw| (draw.tenant(), Seq(draw.below(20)), draw.dead_letter())),
            dismissed: if self.below(4) == 0 {
                self.list(|draw| (draw.tenant(), draw.list(|draw| Seq(draw.below(20)))))
            } else {
                Vec::new()
            },
            forgotten_keys: self.list(|draw| {
                let gone = ForgottenKey {
                    number: draw.below(20),
                    key: draw.maybe(Draw::bytes32),
                };
                (draw.tenant(), gone)
            }),
            remembered_commands: self.list(|draw| (draw.tenant(), draw.remembered_command())),
            plugin_kv: self.list(|draw| {
                let write = KvWrite {
                    key: draw.text(),
                    value: draw.maybe(Draw::kv_value),
                };
                (draw.kv_space(), write)
            }),
            newest_judged: self.maybe(Draw::time),
        }
    }
}
