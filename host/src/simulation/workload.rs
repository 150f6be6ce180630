//! What senders and people bring in a run: alerts of few series, bad items, commands. Everything has a name of its own
//! (`alert-7`, `letter-8`, `person-9`), by which it is found again in the journal. Knows nothing of how it is taken.

use donjon_core::command::{Command, CommandKey, Condition, Guard, RuleIs};
use donjon_core::digest::content_digest;
use donjon_core::incident::IncidentStatus;
use donjon_core::limits::MAX_REJUDGED_POSITIONS;
use donjon_core::{EventId, IncidentId, RuleId, Seq, TenantId, Timestamp, Value};
use serde_json::json;

use super::dice::Dice;
use super::mischief::Mischief;
use super::odd;
use super::scripts::CONDITIONS;
use crate::ingest::normalise::{self, Given, Invalid};
use crate::intake::{Item, NewAlert};
use crate::{json, rules};

const TENANTS: [&str; 2] = ["default", "acme"];
const SERIES: usize = 14;
const RULES: usize = 8;
/// Few, so that keys are used again: by mistake, by other tenants, and long after.
const KEYS: u64 = 12;
/// Commands that may be sent again.
const REMEMBERED: usize = 8;
const GROUPS: [&[&str]; 4] = [&[], &["labels.site"], &["name"], &["labels.site", "service"]];

/// One request.
pub struct Load {
    pub tenant: TenantId,
    pub items: Vec<Item>,
    /// One a item, in their order.
    pub names: Vec<String>,
    /// Whether the sender waits until all is applied.
    pub wait: bool,
}

/// Draws requests.
pub struct Workload {
    next: u64,
    /// How many alerts of a hundred are there to make a plugin misbehave.
    mischief_percent: usize,
    /// Whether people have alerts judged again.
    rejudges: bool,
    /// Commands with keys that were sent, to be sent again.
    given: Vec<(TenantId, Guard, Command)>,
}

impl Workload {
    pub fn new(dice: &mut Dice) -> Workload {
        Workload {
            next: 0,
            mischief_percent: *dice.pick(&[0, 5, 20]),
            rejudges: dice.percent(40),
            given: Vec::new(),
        }
    }

    /// The rules that every tenant begins with.
    pub fn first_rules(&mut self, dice: &mut Dice) -> Vec<Load> {
        let mut loads = Vec::new();
        for tenant in TENANTS {
            for number in 0..1 + dice.below(3) {
                let command = Command::CreateRule {
                    id: rule_id(number),
                    draft: Box::new(draft(dice)),
                };
                loads.push(self.command(&tenant.into(), Guard::default(), command, false));
            }
        }
        loads
    }

    /// The next request. `incidents` are some of those that exist.
    pub fn draw(&mut self, dice: &mut Dice, now: Timestamp, incidents: &[(TenantId, IncidentId)]) -> Load {
        if dice.percent(18) {
            return self.draw_command(dice, incidents);
        }
        let tenant = *dice.weighed(&[(3, &TENANTS[0]), (1, &TENANTS[1])]);
        let count = dice.weighed(&[(50, 1), (30, 3), (15, 8), (5, 40)]);
        let mut load = Load {
            tenant: tenant.into(),
            items: Vec::new(),
            names: Vec::new(),
            wait: dice.percent(30),
        };
        for _ in 0..count {
            let (name, item) = self.item(dice, now);
            load.items.push(item);
            load.names.push(name);
        }
        load
    }

    fn name(&mut self, kind: &str) -> String {
        self.next += 1;
        format!("{kind}-{}", self.next)
    }

    fn item(&mut self, dice: &mut Dice, now: Timestamp) -> (String, Item) {
        let letter = |name: String, reason: String| {
            let item = Item::DeadLetter {
                provider: "keep".to_owned(),
                reason,
                raw: name.clone().into_bytes(),
            };
            (name, item)
        };
        if dice.percent(6) {
            return letter(self.name("letter"), "alert must be a JSON object".to_owned());
        }
        let name = self.name("alert");
        match self.alert(dice, now, &name) {
            Ok(alert) => (name, Item::Alert(Box::new(alert))),
            Err(invalid) => letter(name, invalid.to_string()),
        }
    }

    fn alert(&mut self, dice: &mut Dice, now: Timestamp, event: &str) -> Result<NewAlert, Invalid> {
        let mischief = dice.percent(self.mischief_percent).then(|| *dice.pick(&Mischief::ALL));
        let series = dice.below(SERIES);
        let mut labels = json!({"site": format!("s{}", dice.below(3))});
        if let Some(mischief) = mischief {
            labels["mischief"] = json!(mischief.as_str());
        }
        let said_at = now.minus_ms(dice.next() % 600_000);
        let mut body = json!({
            "name": *dice.pick(&["cpu", "disk", "network"]),
            "fingerprint": format!("series-{series}"),
            "status": dice.weighed(&[(7, "firing"), (3, "resolved"), (1, "acknowledged"), (1, "suppressed")]),
            "severity": *dice.pick(&["critical", "high", "warning", "info", "low"]),
            "service": *dice.pick(&["shop", "bank"]),
            "source": [*dice.pick(&["prometheus", "zabbix"])],
            "message": format!("message {}", dice.below(2)),
            "labels": labels,
        });
        if dice.percent(50) {
            body["lastReceived"] = json!(crate::time::format(said_at));
            body["id"] = json!(format!("id-{}", dice.below(4)));
        }
        if dice.percent(15) {
            odd::add(dice, &mut body, &crate::time::format(said_at));
        }
        let Ok(Value::Object(attributes)) = json::parse(&body.to_string()) else {
            panic!("an alert is an object: {body}");
        };
        let given = Given {
            provider: "",
            fingerprint: None,
            now,
        };
        let mut alert = normalise::normalise(attributes, given)?;
        if alert.id_generated {
            // The only thing that normalising draws itself.
            alert
                .attributes
                .set("id", Value::text(format!("generated for {event}")));
        }
        Ok(NewAlert {
            event_id: EventId::from(event),
            provider: String::new(),
            api_key_name: "sender".to_owned(),
            digest: content_digest(&alert.attributes, alert.id_generated),
            document: json::object_to_vec(&alert.attributes),
            alert,
        })
    }

    /// A command, some with keys and conditions, some for the second time.
    fn draw_command(&mut self, dice: &mut Dice, incidents: &[(TenantId, IncidentId)]) -> Load {
        let wait = dice.percent(50);
        if !self.given.is_empty() && dice.percent(50) {
            let (tenant, guard, command) = dice.pick(&self.given).clone();
            return self.command(&tenant, guard, command, wait);
        }
        let (tenant, command) = self.new_command(dice, incidents);
        let guard = self.draw_guard(dice);
        if guard.once.is_some() {
            if self.given.len() >= REMEMBERED {
                self.given.remove(0);
            }
            self.given.push((tenant.clone(), guard.clone(), command.clone()));
        }
        self.command(&tenant, guard, command, wait)
    }

    fn draw_guard(&mut self, dice: &mut Dice) -> Guard {
        let digest = |number: u64| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_be_bytes());
            digest
        };
        let key = CommandKey {
            key: digest(dice.next() % KEYS),
            request: digest(self.next),
        };
        let is = match dice.below(3) {
            0 => RuleIs::Present,
            1 => RuleIs::Absent,
            _ => RuleIs::OneOf(vec![1, 2]),
        };
        let id = rule_id(dice.below(RULES));
        Guard {
            once: dice.percent(50).then_some(key),
            only_if: dice.percent(20).then_some(Condition::Rule { id, is }),
        }
    }

    fn new_command(&mut self, dice: &mut Dice, incidents: &[(TenantId, IncidentId)]) -> (TenantId, Command) {
        let tenant = TenantId::from(*dice.pick(&TENANTS));
        let id = rule_id(dice.below(RULES));
        let kind = dice.below(11);
        let command = match kind {
            0 | 1 => Command::CreateRule {
                id,
                draft: Box::new(draft(dice)),
            },
            2 | 3 => Command::UpdateRule {
                id,
                draft: Box::new(draft(dice)),
            },
            4 => Command::DeleteRule { id },
            5 if self.rejudges => {
                let from = Seq(dice.next() % 150);
                let to = Seq(from.0 + dice.next() % 100);
                let all = dice.percent(50);
                Command::Rejudge { from, to, all }
            }
            5 => Command::DismissDeadLetters { seqs: None },
            10 => Command::ApplyRules {
                rules: (0..2).map(|more| (rule_id(RULES + more), draft(dice))).collect(),
            },
            6 => Command::DismissDeadLetters {
                seqs: Some(vec![dice.next() % 200, dice.next() % 200]),
            },
            _ => {
                let unknown = (tenant, IncidentId([7; 16]));
                let all: Vec<_> = incidents.iter().cloned().chain([unknown]).collect();
                let (tenant, incident) = dice.pick(&all).clone();
                let command = if kind == 7 {
                    Command::ConfirmIncident { incident }
                } else {
                    let status = *dice.pick(&IncidentStatus::ALL);
                    Command::SetIncidentStatus { incident, status }
                };
                return (tenant, command);
            }
        };
        (tenant, command)
    }

    /// A person has everything judged again.
    pub fn rejudge_all(&mut self, dice: &mut Dice) -> Load {
        let command = Command::Rejudge {
            from: Seq(0),
            to: Seq(MAX_REJUDGED_POSITIONS - 1),
            all: true,
        };
        let tenant = *dice.pick(&TENANTS);
        self.command(&tenant.into(), Guard::default(), command, false)
    }

    fn command(&mut self, tenant: &TenantId, guard: Guard, command: Command, wait: bool) -> Load {
        let actor = self.name("person");
        Load {
            tenant: tenant.clone(),
            items: vec![Item::Command {
                actor: actor.clone(),
                guard,
                command,
            }],
            names: vec![actor],
            wait,
        }
    }
}

fn rule_id(number: usize) -> RuleId {
    RuleId::from(format!("rule-{number}"))
}

fn draft(dice: &mut Dice) -> donjon_core::rule::RuleDraft {
    let body = json!({
        "ruleName": format!("rule {}", dice.below(3)),
        "celQuery": *dice.pick(&CONDITIONS),
        "timeframeInSeconds": *dice.pick(&[60, 3600, 86_400]),
        "timeUnit": "seconds",
        "groupingCriteria": *dice.pick(&GROUPS),
        "requireApprove": dice.percent(15),
        "resolveOn": *dice.pick(&["first_resolved", "last_resolved", "all_resolved", "never"]),
        "createOn": *dice.weighed(&[(4, &"any"), (1, &"all")]),
        "incidentNameTemplate": dice.percent(40).then_some("{{ name }} at {{ labels.site }}"),
        "threshold": *dice.weighed(&[(4, &1), (1, &3)]),
    });
    rules::draft_from_json(&body).unwrap()
}
