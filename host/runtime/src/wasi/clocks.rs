//! The only time that there is: when the first alert of the running call was accepted, 0 outside of such a call. It stands
//! still during a call, so a duration measured within one is 0. Nothing can be waited for.

use std::time::Duration;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, LinkerInstance, Lower};

use crate::host::StoreData;

const NS_PER_MS: u32 = 1_000_000;

/// `datetime` of `wasi:clocks/wall-clock`.
#[derive(ComponentType, Lower, Clone, Copy, Debug, PartialEq, Eq)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

impl Datetime {
    fn of_ms(ms: u64) -> Datetime {
        let time = Duration::from_millis(ms);
        Datetime {
            seconds: time.as_secs(),
            nanoseconds: time.subsec_nanos(),
        }
    }
}

pub(super) fn answer(
    linked: &mut LinkerInstance<'_, StoreData>,
    interface: &str,
    function: &str,
) -> wasmtime::Result<bool> {
    match (interface, function) {
        ("clocks/wall-clock", "now") => linked
            .func_wrap(function, |store: StoreContextMut<'_, StoreData>, (): ()| {
                Ok((Datetime::of_ms(store.data().wasi.now_ms()),))
            })?,
        ("clocks/wall-clock", "resolution") => {
            linked.func_wrap(function, |_: StoreContextMut<'_, StoreData>, (): ()| {
                Ok((Datetime::of_ms(1),))
            })?;
        }
        ("clocks/monotonic-clock", "now") => {
            linked.func_wrap(function, |store: StoreContextMut<'_, StoreData>, (): ()| {
                Ok((store.data().wasi.now_ms().saturating_mul(u64::from(NS_PER_MS)),))
            })?;
        }
        ("clocks/monotonic-clock", "resolution") => {
            linked.func_wrap(function, |_: StoreContextMut<'_, StoreData>, (): ()| {
                Ok((u64::from(NS_PER_MS),))
            })?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_split_into_seconds_and_the_rest() {
        let time = Datetime::of_ms(1_700_000_000_123);
        assert_eq!((time.seconds, time.nanoseconds), (1_700_000_000, 123_000_000));
    }
}
