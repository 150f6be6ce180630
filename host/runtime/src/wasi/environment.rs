//! Where a plugin runs: nowhere. No variables, no arguments, no folders, no terminal; and it cannot end the host, only its
//! own call.

use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource};

use crate::host::StoreData;

/// A file or folder; nobody gets one.
pub(super) struct Descriptor;
/// A terminal; nobody gets one.
pub(super) struct Terminal;

type Context<'a> = StoreContextMut<'a, StoreData>;

pub(super) fn answer(
    linked: &mut LinkerInstance<'_, StoreData>,
    interface: &str,
    function: &str,
) -> wasmtime::Result<bool> {
    match (interface, function) {
        ("cli/environment", "get-environment") => {
            linked.func_wrap(function, |_: Context<'_>, (): ()| Ok((Vec::<(String, String)>::new(),)))?;
        }
        ("cli/environment", "get-arguments") => {
            linked.func_wrap(function, |_: Context<'_>, (): ()| Ok((Vec::<String>::new(),)))?;
        }
        ("cli/environment", "initial-cwd") => {
            linked.func_wrap(function, |_: Context<'_>, (): ()| Ok((None::<String>,)))?;
        }
        ("cli/terminal-stdin" | "cli/terminal-stdout" | "cli/terminal-stderr", _) => {
            linked.func_wrap(function, |_: Context<'_>, (): ()| Ok((None::<Resource<Terminal>>,)))?;
        }
        ("filesystem/preopens", "get-directories") => {
            linked.func_wrap(function, |_: Context<'_>, (): ()| {
                Ok((Vec::<(Resource<Descriptor>, String)>::new(),))
            })?;
        }
        ("cli/exit", "exit") => {
            linked.func_wrap(function, |_: Context<'_>, (status,): (Result<(), ()>,)| {
                ended(u8::from(status.is_err()))
            })?;
        }
        ("cli/exit", "exit-with-code") => {
            linked.func_wrap(function, |_: Context<'_>, (code,): (u8,)| ended(code))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn ended(code: u8) -> wasmtime::Result<()> {
    wasmtime::bail!("the plugin ended itself with exit code {code}")
}
