//! The copies of a plugin that serve, one a tenant: what one tenant's alerts and rules cost or break is nobody else's, and
//! new rules are compiled on a spare copy that takes over in one step. Memory is a cache: copies may be let go for it. Knows
//! neither calls nor what rules say.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use donjon_core::TenantId;
use donjon_core::batch::RuleSpec;

use crate::instance::Instance;
use crate::plugin::Configured;
use crate::running::Running;
use crate::total_memory::{Idle, IdleCopy, IdleKind, TotalMemory, Used};

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
    used: Used,
}

/// All copies of one plugin, and the rules they have.
pub(crate) struct Lanes {
    table: Arc<SharedTable>,
}

/// Also known to whoever needs memory.
struct SharedTable {
    table: Mutex<Table>,
    total_memory: Arc<TotalMemory>,
}

struct Table {
    /// Whether a copy serves nobody before it has rules.
    waits_for_rules: bool,
    lanes: HashMap<TenantId, Lane>,
    /// Each with the time of its last use.
    spares: BTreeMap<TenantId, (Used, Spare)>,
    configured: BTreeMap<TenantId, Configured>,
}

impl Lanes {
    /// With the copy that the plugin was started with.
    pub(crate) fn new(
        (tenant, instance): (&TenantId, Instance),
        waits_for_rules: bool,
        total_memory: &Arc<TotalMemory>,
    ) -> Lanes {
        let lane = Lane {
            running: Arc::new(tokio::sync::Mutex::new(Running::new(tenant.clone(), Some(instance)))),
            used: total_memory.use_now(),
        };
        let table = Table {
            waits_for_rules,
            lanes: HashMap::from([(tenant.clone(), lane)]),
            spares: BTreeMap::new(),
            configured: BTreeMap::new(),
        };
        let table = Arc::new(SharedTable {
            table: Mutex::new(table),
            total_memory: Arc::clone(total_memory),
        });
        let weak: Weak<SharedTable> = Arc::downgrade(&table);
        total_memory.may_let_go(weak);
        Lanes { table }
    }

    /// The copy that serves a tenant.
    pub(crate) fn serving(&self, tenant: &TenantId) -> Arc<tokio::sync::Mutex<Running>> {
        let used = self.table.total_memory.use_now();
        let mut table = self.table();
        if let Some(lane) = table.lanes.get_mut(tenant) {
            lane.used = used;
            let running = Arc::clone(&lane.running);
            if running.try_lock().is_ok_and(|running| !running.is_live()) {
                // Let go before, and about to be made again.
                table.make_room();
            }
            return running;
        }
        table.put(tenant.clone(), Running::new(tenant.clone(), None), used)
    }

    /// A copy that does not serve, for new rules: with the tenant's older ones if there is such a one.
    pub(crate) fn spare(&self, tenant: &TenantId) -> Running {
        let mut table = self.table();
        match table.spares.remove(tenant) {
            Some((_, Spare::Former(running))) => *running,
            Some((_, Spare::Ready(ready))) => ready.running,
            None => table
                .take_without_rules(tenant)
                .unwrap_or_else(|| Running::new(tenant.clone(), None)),
        }
    }

    /// Keeps a copy until its rules are in force.
    pub(crate) fn keep_ready(&self, tenant: &TenantId, ready: Ready) {
        let used = self.table.total_memory.use_now();
        self.table().keep(tenant, (used, Spare::Ready(Box::new(ready))));
    }

    /// Lets the copy with these rules serve, if there is one.
    pub(crate) fn take_over(&self, tenant: &TenantId, version: u64, rules: &[RuleSpec]) -> Option<Configured> {
        let (former_used, used) = (self.table.total_memory.use_now(), self.table.total_memory.use_now());
        let mut table = self.table();
        let ready = match table.spares.remove(tenant)? {
            (_, Spare::Ready(ready)) if ready.rules == rules => *ready,
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
        let former = table.lanes.remove(tenant);
        table.put(tenant.clone(), ready.running, used);
        // In use at this moment: then it ends with that use.
        if let Some(former) = former.and_then(|lane| Arc::try_unwrap(lane.running).ok()) {
            table.keep(tenant, (former_used, Spare::Former(Box::new(former.into_inner()))));
        }
        Some(configured)
    }

    /// What the serving copy has for a tenant.
    pub(crate) fn configured(&self, tenant: &TenantId) -> Option<Configured> {
        self.table().configured.get(tenant).cloned()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock()
    }
}

impl SharedTable {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle for SharedTable {
    fn idle(&self) -> Vec<IdleCopy> {
        let table = self.lock();
        let serving = table.lanes.values().filter_map(|lane| {
            let running = lane.running.try_lock().ok()?;
            let kind = IdleKind::Serving;
            (running.memory_bytes() > 0).then_some(IdleCopy { kind, used: lane.used })
        });
        let spares = table.spares.values().filter_map(|(used, spare)| {
            let kind = spare.kind();
            (spare.running().memory_bytes() > 0).then_some(IdleCopy { kind, used: *used })
        });
        serving.chain(spares).collect()
    }

    fn let_go(&self, copy: IdleCopy) -> usize {
        let mut table = self.lock();
        if copy.kind == IdleKind::Serving {
            let lane = table.lanes.values().find(|lane| lane.used == copy.used);
            let running = lane.map(|lane| Arc::clone(&lane.running));
            drop(table);
            return running.map_or(0, |running| {
                running.try_lock().map_or(0, |mut running| running.let_go())
            });
        }
        let spare = table.spares.iter().find(|(_, (used, _))| *used == copy.used);
        let tenant = spare.map(|(tenant, _)| tenant.clone());
        let spare = tenant.and_then(|tenant| table.spares.remove(&tenant));
        drop(table);
        spare.map_or(0, |(_, spare)| spare.running().memory_bytes())
    }
}

impl Spare {
    fn running(&self) -> &Running {
        match self {
            Spare::Former(running) => running,
            Spare::Ready(ready) => &ready.running,
        }
    }

    fn kind(&self) -> IdleKind {
        match self {
            Spare::Former(_) => IdleKind::Former,
            Spare::Ready(_) => IdleKind::Ready,
        }
    }
}

impl Table {
    /// The copy that the plugin was started with, if it is this tenant's and serves nobody yet.
    fn take_without_rules(&mut self, tenant: &TenantId) -> Option<Running> {
        if !self.waits_for_rules || self.configured.contains_key(tenant) {
            return None;
        }
        let lane = self.lanes.remove(tenant)?;
        Arc::try_unwrap(lane.running).ok().map(tokio::sync::Mutex::into_inner)
    }

    fn put(&mut self, key: TenantId, running: Running, used: Used) -> Arc<tokio::sync::Mutex<Running>> {
        self.make_room();
        let running = Arc::new(tokio::sync::Mutex::new(running));
        let lane = Lane {
            running: Arc::clone(&running),
            used,
        };
        self.lanes.insert(key, lane);
        running
    }

    /// For one more copy that serves: where there are as many as may be, the one used longest ago is let go. Its rules stay
    /// known: its tenant's next call makes it again.
    fn make_room(&mut self) {
        if self.lanes.len() < MAX_COPIES {
            return;
        }
        let (mut live, mut oldest) = (0, None::<(Used, &Lane)>);
        for lane in self.lanes.values() {
            // What is locked is in use.
            let (is_live, is_idle) = lane.running.try_lock().map_or((true, false), |it| (it.is_live(), true));
            live += usize::from(is_live);
            if is_live && is_idle && oldest.is_none_or(|(used, _)| lane.used < used) {
                oldest = Some((lane.used, lane));
            }
        }
        if live >= MAX_COPIES
            && let Some((_, lane)) = oldest
            && let Ok(mut running) = lane.running.try_lock()
        {
            running.let_go();
        }
    }

    fn keep(&mut self, tenant: &TenantId, spare: (Used, Spare)) {
        if self.spares.len() >= MAX_SPARES && !self.spares.contains_key(tenant) {
            let first = self
                .spares
                .iter()
                .min_by_key(|(_, (used, spare))| (spare.kind(), *used));
            let first = first.map(|(tenant, _)| tenant.clone());
            first.map(|tenant| self.spares.remove(&tenant));
        }
        self.spares.insert(tenant.clone(), spare);
    }
}
