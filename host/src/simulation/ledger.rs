//! What senders were told, to be held against the journal: an acknowledged item is there, at its position, once; what
//! was refused is not; nobody who waits is forgotten. Knows nothing of how items are applied.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use donjon_core::command::CommandOutcome;
use donjon_core::{Seq, TenantId};

use super::workload::Load;
use crate::intake::{Applied, Intake, Receipt, Refused};

/// Longer than any run.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

type Asking = Pin<Box<dyn Future<Output = Result<Receipt, Refused>>>>;
type Waiting = Pin<Box<dyn Future<Output = Option<Vec<Option<Applied>>>>>>;

/// What became of a request, as its sender knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// On stable storage, the first item at this position.
    Accepted(Seq),
    /// Refused, and nothing of it may be in the journal.
    Refused,
    /// The connection broke, or the journal did: it may be in the journal.
    Unknown,
}

/// A request that was answered, or never will be.
pub struct Sent {
    pub tenant: TenantId,
    pub names: Vec<String>,
    pub answer: Answer,
}

struct Open {
    tenant: TenantId,
    names: Vec<String>,
    wait: bool,
    asking: Asking,
}

struct Applying {
    names: Vec<String>,
    waiting: Waiting,
}

/// All requests of a run.
#[derive(Default)]
pub struct Ledger {
    pub sent: Vec<Sent>,
    open: Vec<Open>,
    applying: Vec<Applying>,
    /// What people were told of their commands, by their names.
    pub outcomes: BTreeMap<String, CommandOutcome>,
    /// Requests whose outcomes were told.
    pub told: u64,
    /// Requests that were refused, by the beginning of what they were told.
    pub refusals: BTreeMap<String, u64>,
}

impl Ledger {
    /// Sends a request. The answer comes with a later `listen`.
    pub fn send(&mut self, intake: &Intake, load: Load) {
        let (intake, tenant, wait) = (intake.clone(), load.tenant.clone(), load.wait);
        let items = load.items;
        self.open.push(Open {
            tenant: load.tenant,
            names: load.names,
            wait,
            asking: Box::pin(async move { intake.accept(tenant, items, wait).await }),
        });
        self.listen();
    }

    /// Takes the answers that are there.
    pub fn listen(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        for mut open in std::mem::take(&mut self.open) {
            match open.asking.as_mut().poll(&mut context) {
                Poll::Pending => self.open.push(open),
                Poll::Ready(answer) => self.answered(open, answer),
            }
        }
        for mut applying in std::mem::take(&mut self.applying) {
            match applying.waiting.as_mut().poll(&mut context) {
                Poll::Pending => self.applying.push(applying),
                Poll::Ready(Some(outcomes)) => {
                    assert_eq!(outcomes.len(), applying.names.len(), "one outcome an item");
                    let silent = outcomes.iter().position(Option::is_none);
                    assert_eq!(silent, None, "no outcome was told: {:?}", applying.names);
                    self.told += 1;
                    for (name, outcome) in applying.names.iter().zip(outcomes) {
                        if let Some(Applied::Command(outcome)) = outcome {
                            self.outcomes.insert(name.clone(), outcome);
                        }
                    }
                }
                // The server died or stopped: 202, they will be applied.
                Poll::Ready(None) => {}
            }
        }
    }

    fn answered(&mut self, open: Open, answer: Result<Receipt, Refused>) {
        let answer = match answer {
            Ok(receipt) => {
                let first = receipt.first;
                if open.wait {
                    self.applying.push(Applying {
                        names: open.names.clone(),
                        waiting: Box::pin(receipt.outcomes(PATIENCE)),
                    });
                }
                Answer::Accepted(first)
            }
            Err(refused) => {
                let text = refused.to_string();
                let kind = text.split([';', ':']).next().unwrap_or_default();
                *self.refusals.entry(kind.to_owned()).or_default() += 1;
                // After a failed fsync nobody knows what is on the disk.
                match refused {
                    Refused::Broken(_) | Refused::NotKnown(_) => Answer::Unknown,
                    _ => Answer::Refused,
                }
            }
        };
        self.sent.push(Sent {
            tenant: open.tenant,
            names: open.names,
            answer,
        });
    }

    /// The server died before it could say more.
    pub fn hang_up(&mut self) {
        for open in std::mem::take(&mut self.open) {
            self.sent.push(Sent {
                tenant: open.tenant,
                names: open.names,
                answer: Answer::Unknown,
            });
        }
        self.applying.clear();
    }

    /// Everything accepted is applied: nobody waits any more.
    pub fn nobody_waits(&self) -> Result<(), String> {
        match (self.open.first(), self.applying.first()) {
            (Some(open), _) => Err(format!("a request was never answered: {:?}", open.names)),
            (_, Some(applying)) => Err(format!("outcomes were never told: {:?}", applying.names)),
            (None, None) => Ok(()),
        }
    }
}
