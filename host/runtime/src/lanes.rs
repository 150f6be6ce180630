//! The copies of a plugin that serve. A stateless plugin that takes rules has one copy a tenant: what one tenant's rules
//! cost or break is nobody else's, and new rules are compiled on a spare copy that takes over in one step. Every other
//! plugin has one copy for all. Knows neither calls nor what rules say.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use donjon_core::TenantId;
use donjon_core::batch::RuleSpec;

use crate::instance::Instance;
use crate::plugin::Configured;
use crate::running::Running;
use crate::total_memory::{Idle, TotalMemory};

/// Copies kept at a time; above, the one used longest ago is let go and made again when its tenant has alerts.
const MAX_COPIES: usize = 256;
/// Spare copies kept for the next change of rules; without one the next change compiles all rules of its tenant.
const MAX_SPARES: usize = 16;

const _: () = assert!(MAX_SPARES < MAX_COPIES, "spares are the smaller part of the memory");

/// A copy that has the rules of its tenant and waits to take over.
pub(crate) struct Ready {
    pub(crate) running: Running,
    pub(crate) rules: Vec<RuleSpec>,
    /// Under version 0: which it will be is known once it takes over.
    pub(crate) configured: Configured,
}

enum Spare {
    /// Has older rules of the tenant: what did not change need not be compiled again.
    Former(Box<Running>),
    Ready(Box<Ready>),
}

struct Lane {
    running: Arc<tokio::sync::Mutex<Running>>,
    used: u64,
}

/// All copies of one plugin, and the rules they have.
pub(crate) struct Lanes {
    per_tenant: bool,
    table: Arc<SharedTable>,
}

/// Also known to whoever needs memory.
struct SharedTable(Mutex<Table>);

struct Table {
    /// The instance that the plugin was started with.
    first: Option<Running>,
    lanes: HashMap<Option<TenantId>, Lane>,
    spares: BTreeMap<TenantId, Spare>,
    configured: BTreeMap<TenantId, Configured>,
    uses: u64,
}

impl Lanes {
    pub(crate) fn new(
        per_tenant: bool,
        instance: Instance,
        state: Option<Vec<u8>>,
        total_memory: &TotalMemory,
    ) -> Lanes {
        let table = Table {
            first: Some(Running::new(Some(instance), state)),
            lanes: HashMap::new(),
            spares: BTreeMap::new(),
            configured: BTreeMap::new(),
            uses: 0,
        };
        let table = Arc::new(SharedTable(Mutex::new(table)));
        if per_tenant {
            let weak: Weak<SharedTable> = Arc::downgrade(&table);
            total_memory.may_let_go(weak);
        }
        Lanes { per_tenant, table }
    }

    /// Whether tenants have copies of their own.
    pub(crate) fn per_tenant(&self) -> bool {
        self.per_tenant
    }

    /// The copy that serves a tenant.
    pub(crate) fn serving(&self, tenant: &TenantId) -> Arc<tokio::sync::Mutex<Running>> {
        let key = self.per_tenant.then(|| tenant.clone());
        let mut table = self.table();
        table.uses += 1;
        let uses = table.uses;
        if let Some(lane) = table.lanes.get_mut(&key) {
            lane.used = uses;
            return Arc::clone(&lane.running);
        }
        let running = table.first.take().unwrap_or_default();
        table.put(key, running)
    }

    /// The copy for all tenants, if there is such a one.
    pub(crate) fn shared(&self) -> Option<Arc<tokio::sync::Mutex<Running>>> {
        (!self.per_tenant).then(|| self.serving(&TenantId::from("")))
    }

    /// A copy that does not serve, for new rules: with the tenant's older ones if there is such a one.
    pub(crate) fn spare(&self, tenant: &TenantId) -> Running {
        let mut table = self.table();
        match table.spares.remove(tenant) {
            Some(Spare::Former(running)) => *running,
            Some(Spare::Ready(ready)) => ready.running,
            None if self.per_tenant => table.first.take().unwrap_or_default(),
            None => Running::default(),
        }
    }

    /// Keeps a copy until its rules are in force.
    pub(crate) fn keep_ready(&self, tenant: &TenantId, ready: Ready) {
        self.table().keep(tenant, Spare::Ready(Box::new(ready)));
    }

    /// Lets the copy with these rules serve, if there is one.
    pub(crate) fn take_over(&self, tenant: &TenantId, version: u64, rules: &[RuleSpec]) -> Option<Configured> {
        let mut table = self.table();
        let ready = match table.spares.remove(tenant)? {
            Spare::Ready(ready) if ready.rules == rules => *ready,
            other => {
                table.spares.insert(tenant.clone(), other);
                return None;
            }
        };
        let configured = Configured {
            version,
            ..ready.configured
        };
        table.configured.insert(tenant.clone(), configured.clone());
        let former = table.lanes.remove(&Some(tenant.clone()));
        table.put(Some(tenant.clone()), ready.running);
        // In use at this moment: then it ends with that use.
        if let Some(former) = former.and_then(|lane| Arc::try_unwrap(lane.running).ok()) {
            table.keep(tenant, Spare::Former(Box::new(former.into_inner())));
        }
        Some(configured)
    }

    /// What the serving copy has for a tenant.
    pub(crate) fn configured(&self, tenant: &TenantId) -> Option<Configured> {
        self.table().configured.get(tenant).cloned()
    }

    /// The serving copy was given rules directly.
    pub(crate) fn set_configured(&self, tenant: &TenantId, configured: Configured) {
        self.table().configured.insert(tenant.clone(), configured);
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock()
    }
}

impl SharedTable {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What can be let go: a copy that serves and is not in use, or one that has older rules.
enum Largest {
    Serving(Option<TenantId>),
    Former(TenantId),
}

impl Idle for SharedTable {
    fn largest(&self) -> usize {
        self.lock().largest_idle().map_or(0, |(bytes, _)| bytes)
    }

    fn let_go(&self) -> usize {
        let mut table = self.lock();
        match table.largest_idle() {
            Some((_, Largest::Serving(key))) => {
                let running = table.lanes.get(&key).map(|lane| Arc::clone(&lane.running));
                drop(table);
                running
                    .and_then(|running| running.try_lock().ok().map(|mut running| running.let_go()))
                    .unwrap_or(0)
            }
            Some((bytes, Largest::Former(tenant))) => {
                let former = table.spares.remove(&tenant);
                drop(table);
                former.map_or(0, |_| bytes)
            }
            None => 0,
        }
    }
}

impl Table {
    fn put(&mut self, key: Option<TenantId>, running: Running) -> Arc<tokio::sync::Mutex<Running>> {
        if self.lanes.len() >= MAX_COPIES {
            let oldest = self.lanes.values().filter_map(|lane| {
                let running = lane.running.try_lock().ok()?;
                running.instance.is_some().then_some((lane.used, running))
            });
            if let Some((_, mut running)) = oldest.min_by_key(|(used, _)| *used) {
                // Its rules stay known: the next call makes a new copy with them.
                running.instance = None;
            }
        }
        self.uses += 1;
        let running = Arc::new(tokio::sync::Mutex::new(running));
        let lane = Lane {
            running: Arc::clone(&running),
            used: self.uses,
        };
        self.lanes.insert(key, lane);
        running
    }

    /// The largest copy that can be let go. One that waits to take over is not: its rules were just tried.
    fn largest_idle(&self) -> Option<(usize, Largest)> {
        let serving = self.lanes.iter().filter_map(|(key, lane)| {
            let running = lane.running.try_lock().ok()?;
            Some((running.memory_bytes(), Largest::Serving(key.clone())))
        });
        let former = self.spares.iter().filter_map(|(tenant, spare)| match spare {
            Spare::Former(running) => Some((running.memory_bytes(), Largest::Former(tenant.clone()))),
            Spare::Ready(_) => None,
        });
        let all = serving.chain(former).filter(|(bytes, _)| *bytes > 0);
        all.max_by_key(|(bytes, _)| *bytes)
    }

    fn keep(&mut self, tenant: &TenantId, spare: Spare) {
        if self.spares.len() >= MAX_SPARES && !self.spares.contains_key(tenant) {
            let former =
                |(tenant, spare): (&TenantId, &Spare)| matches!(spare, Spare::Former(_)).then(|| tenant.clone());
            let least = self
                .spares
                .iter()
                .find_map(former)
                .or_else(|| self.spares.keys().next().cloned());
            least.map(|tenant| self.spares.remove(&tenant));
        }
        self.spares.insert(tenant.clone(), spare);
    }
}
