//! What stops a plugin: a budget of computing time and wall time for each call, and limits on memory, tables and
//! instances. Turns a broken call into the limit that it broke, so that a denied allocation is not reported as
//! `unreachable`. Does not know what the calls are.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use donjon_core::limits::MAX_ERROR_TEXT_BYTES;
use donjon_core::text::one_line;
use wasmtime::{ResourceLimiter, Store, UpdateDeadline};

use crate::errors::CallError;
use crate::host::StoreData;
use crate::intake::short;
use crate::limits::Limits;
use crate::runtime::no_room;
use crate::ticker::TICK;
use crate::total_memory::{MemoryShare, TotalMemory};

/// The time that one call may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    pub(crate) cpu: Duration,
    pub(crate) wall: Duration,
}

impl Budget {
    pub(crate) fn start(limits: &Limits) -> Budget {
        Budget {
            cpu: limits.start_cpu,
            wall: limits.start_wall,
        }
    }

    pub(crate) fn configure(limits: &Limits) -> Budget {
        Budget {
            cpu: limits.configure_cpu,
            wall: limits.configure_wall,
        }
    }

    /// For a call with alerts, however few: a part of a slice has all the time there is, so that slowness alone fails
    /// nothing.
    pub(crate) fn judge(limits: &Limits) -> Budget {
        Budget {
            cpu: limits.call_cpu,
            wall: limits.call_wall,
        }
    }

    fn ticks(self) -> u64 {
        let ticks = self.cpu.as_nanos().div_ceil(TICK.as_nanos().max(1));
        u64::try_from(ticks).unwrap_or(u64::MAX).max(1)
    }
}

/// The computing time of a call was used up.
#[derive(Debug, thiserror::Error)]
#[error("computing time used up")]
struct CpuSpent;

/// What was denied to the guest during a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Denied {
    Memory,
    TotalMemory,
    Table,
}

/// The part of a store's data that enforces limits.
pub(crate) struct Guard {
    ticks_left: u64,
    budget: Budget,
    denied: Option<Denied>,
    memory_bytes: Allowance,
    /// What all plugins share; given back when the store is dropped.
    total_memory: MemoryShare,
    answer_bytes: usize,
    table_elements: Allowance,
    instances: usize,
    memories: usize,
    tables: usize,
}

/// How much of something is taken, of how much.
struct Allowance {
    taken: usize,
    limit: usize,
}

impl Allowance {
    fn of(limit: usize) -> Allowance {
        Allowance { taken: 0, limit }
    }

    /// Takes the growth from `current` to `desired` if it fits.
    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let total = self.taken.saturating_add(desired.saturating_sub(current));
        let fits = total <= self.limit;
        if fits {
            self.taken = total;
        }
        fits
    }

    /// The growth did not come about.
    fn give_back(&mut self, current: usize, desired: usize) {
        self.taken = self.taken.saturating_sub(desired.saturating_sub(current));
    }
}

impl Guard {
    /// Bytes of all memories.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes.taken
    }

    pub(crate) fn new(limits: &Limits, total_memory: &Arc<TotalMemory>) -> Guard {
        Guard {
            ticks_left: 0,
            budget: Budget {
                cpu: Duration::ZERO,
                wall: Duration::ZERO,
            },
            denied: None,
            memory_bytes: Allowance::of(limits.memory_bytes),
            total_memory: TotalMemory::share(total_memory),
            answer_bytes: limits.answer_bytes,
            table_elements: Allowance::of(limits.table_elements),
            instances: limits.instances,
            memories: limits.memories,
            tables: limits.tables,
        }
    }
}

impl ResourceLimiter for Guard {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        // Beyond the guest's own maximum the growth fails anyway, and not because of us.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        // First its own limit: nobody else has to go for what it may not have.
        if !self.memory_bytes.grow(current, desired) {
            self.denied = Some(Denied::Memory);
            return Ok(false);
        }
        let fits = self.total_memory.take(desired.saturating_sub(current));
        if !fits {
            self.memory_bytes.give_back(current, desired);
            self.denied = Some(Denied::TotalMemory);
        }
        Ok(fits)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        let fits = self.table_elements.grow(current, desired);
        if !fits {
            self.denied = Some(Denied::Table);
        }
        Ok(fits)
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn tables(&self) -> usize {
        self.tables
    }

    fn memories(&self) -> usize {
        self.memories
    }
}

/// Makes a store that obeys the limits in its data.
pub(crate) fn guarded_store(engine: &wasmtime::Engine, data: StoreData, answer_bytes: usize) -> Store<StoreData> {
    let mut store = Store::new(engine, data);
    store.limiter(|data| &mut data.guard);
    store.set_hostcall_fuel(answer_bytes);
    // A tick is counted only where the guest notices it, so time spent in the host or off the processor hardly counts
    // as computing. Every tick yields, because a future that never yields cannot be timed out.
    store.epoch_deadline_callback(|mut context| {
        let guard = &mut context.data_mut().guard;
        match guard.ticks_left.checked_sub(1) {
            Some(left) => {
                guard.ticks_left = left;
                Ok(UpdateDeadline::Yield(1))
            }
            None => Err(wasmtime::Error::new(CpuSpent)),
        }
    });
    store
}

/// Sets both limits, right before a call.
pub(crate) fn arm(store: &mut Store<StoreData>, budget: Budget) {
    let data = store.data_mut();
    data.guard.ticks_left = budget.ticks();
    data.guard.budget = budget;
    data.guard.denied = None;
    data.last_error_line = None;
    data.wasi.forget_errors();
    store.set_epoch_deadline(1);
}

/// Waits for an armed call; `None` if the wall time ran out.
pub(crate) async fn within<R>(budget: Budget, call: impl Future<Output = R>) -> Option<R> {
    tokio::time::timeout(budget.wall, call).await.ok()
}

/// Why a call broke, in words that name the limit it broke.
pub(crate) fn explain(data: &StoreData, broken: Option<wasmtime::Error>) -> CallError {
    let guard = &data.guard;
    let Some(error) = broken else {
        return CallError::WallTime {
            limit: guard.budget.wall,
        };
    };
    if error.is::<CpuSpent>() {
        return CallError::CpuTime {
            limit: guard.budget.cpu,
        };
    }
    match guard.denied {
        Some(Denied::Memory) => CallError::OutOfMemory {
            limit: guard.memory_bytes.limit,
        },
        Some(Denied::TotalMemory) => CallError::OutOfTotalMemory {
            limit: guard.total_memory.limit(),
        },
        Some(Denied::Table) => CallError::OutOfTable {
            limit: guard.table_elements.limit,
        },
        // wasmtime's type for it is private; a test of ours holds its words.
        None if error.root_cause().to_string().contains("fuel allocated for hostcalls") => CallError::TooMuchAnswered {
            limit: guard.answer_bytes,
        },
        None if no_room(&error) => CallError::NoRoom(short(&format!("{error:#}"))),
        None => CallError::Trap(trap_text(data, &error)),
    }
}

/// The cause, what the plugin wrote or logged last as an error (mostly a traceback or a panic message), and where it was.
fn trap_text(data: &StoreData, error: &wasmtime::Error) -> String {
    let mut text = match error.downcast_ref::<wasmtime::Trap>() {
        Some(trap) => trap.to_string(),
        None => error.root_cause().to_string(),
    };
    if let Some(line) = data.wasi.error_text().or_else(|| data.last_error_line.clone()) {
        text = format!("{text}; it had logged: {line}");
    }
    let frames = frames(error);
    if !frames.is_empty() {
        text = format!("{text}; in {}", frames.join(" < "));
    }
    one_line(&text, MAX_ERROR_TEXT_BYTES)
}

/// Innermost functions shown of a trap.
const SHOWN_FRAMES: usize = 5;

/// The innermost functions of the plugin, without those of the standard library that a panic goes through.
fn frames(error: &wasmtime::Error) -> Vec<String> {
    let Some(trace) = error.downcast_ref::<wasmtime::WasmBacktrace>() else {
        return Vec::new();
    };
    let names = trace.frames().iter().filter_map(|frame| frame.func_name());
    let names = names.map(|name| format!("{:#}", rustc_demangle::demangle(name)));
    let is_own = |name: &String| {
        let beginnings = [
            "std::", "core::", "alloc::", "__rust", "rust_", "<core::", "<alloc::", "<std::",
        ];
        !beginnings.iter().any(|beginning| name.starts_with(beginning)) && !name.contains("__rustc")
    };
    names.filter(is_own).take(SHOWN_FRAMES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_over_all_memories_together_is_limited() {
        let limits = Limits {
            memory_bytes: 100,
            ..Limits::default()
        };
        let total = TotalMemory::of(limits.total_memory_bytes);
        let mut guard = Guard::new(&limits, &total);
        assert!(guard.memory_growing(0, 60, None).unwrap());
        assert!(!guard.memory_growing(0, 41, Some(40)).unwrap());
        assert_eq!(guard.denied, None);
        assert!(guard.memory_growing(0, 40, None).unwrap());
        assert!(!guard.memory_growing(40, 41, None).unwrap());
        assert_eq!(guard.denied, Some(Denied::Memory));
        assert_eq!(total.taken(), 100, "what was refused is not taken");
    }

    #[test]
    fn all_plugins_together_have_one_limit_and_give_back_what_they_had() {
        let limits = Limits {
            memory_bytes: 100,
            ..Limits::default()
        };
        let total = TotalMemory::of(150);
        let (mut first, mut second) = (Guard::new(&limits, &total), Guard::new(&limits, &total));
        assert!(first.memory_growing(0, 100, None).unwrap());
        assert!(second.memory_growing(0, 50, None).unwrap());
        assert!(!second.memory_growing(50, 51, None).unwrap());
        assert_eq!(second.denied, Some(Denied::TotalMemory));
        assert_eq!((total.taken(), total.refused()), (150, 1));
        drop(first);
        assert_eq!(total.taken(), 50);
        assert!(second.memory_growing(50, 100, None).unwrap());
        drop(second);
        assert_eq!(total.taken(), 0);
    }

    #[test]
    fn a_part_of_a_slice_has_all_the_time_there_is() {
        let limits = Limits::default();
        assert_eq!(Budget::judge(&limits).cpu, limits.call_cpu);
        let short = Budget {
            cpu: Duration::from_millis(62),
            ..Budget::start(&limits)
        };
        assert_eq!(short.ticks(), 7);
    }
}
