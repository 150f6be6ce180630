//! The archiver: a storage back end that stores, searches, counts and maintains.

use crate::lifecycle::Plugin;
use crate::types::{Document, Error, Timestamp};

/// One alert to store. Storing the same `seq` twice must leave one alert.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// The position in the journal; with the tenant, the identity of the stored alert.
    pub seq: u64,
    /// When the host accepted it.
    pub accepted: Timestamp,
    /// The alert.
    pub document: Document,
}

/// What became of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemOutcome {
    /// Stored, durably.
    Stored,
    /// Not now: hand it over again.
    Retry(String),
    /// Never: the back end refuses it for good.
    Rejected(String),
}

/// How to order what is found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// An attribute path.
    pub path: String,
    /// Largest first.
    pub descending: bool,
}

/// What to look for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// An expression of the alert expression language; empty for everything.
    pub condition: String,
    /// Accepted at or after.
    pub since: Option<Timestamp>,
    /// Accepted before.
    pub until: Option<Timestamp>,
    /// Only alerts whose `seq` is below: the hot ones are searched by the host.
    pub before_seq: Option<u64>,
    /// First by the first.
    pub order: Vec<Order>,
    /// At most so many.
    pub limit: u32,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

/// One found alert.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hit {
    /// Its position in the journal.
    pub seq: u64,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// The alert.
    pub document: Document,
}

/// One page of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order asked for.
    pub hits: Vec<Hit>,
    /// Hand it back to get the next page; none at the end.
    pub cursor: Option<String>,
    /// How many there are in all, if known.
    pub total: Option<u64>,
}

/// A plugin that keeps alerts in a storage back end.
pub trait Archiver: Plugin {
    /// Store items; one outcome an item, in their order.
    fn write(&mut self, items: Vec<Item>) -> Result<Vec<ItemOutcome>, Error>;

    /// One page of what matches.
    fn search(&mut self, query: Query) -> Result<Page, Error>;

    /// How many match; `order`, `limit` and `cursor` are to be ignored.
    fn count(&mut self, query: Query) -> Result<u64, Error>;

    /// Templates, life cycle and retention; called at start and then regularly. Answers a JSON report.
    fn maintain(&mut self, now: Timestamp) -> Result<String, Error> {
        let _ = now;
        Ok("{}".to_owned())
    }
}
