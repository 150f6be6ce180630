//! Standard input, output and error. Input is at its end; what is written goes into the log of the plugin, and never has to
//! wait: the log drops and counts what is too much.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, LinkerInstance, Lower, Resource};

use crate::host::StoreData;
use crate::wasi::handle;

/// Where input comes from: nowhere.
pub(super) struct Input;
/// Where output goes, `STDOUT` or `STDERR`.
pub(super) struct Output;
/// Something to wait for that is always there already.
pub(super) struct Ready;
/// A failed operation; nobody gets one.
pub(super) struct Failure;

const STDIN: u32 = 0;
const STDOUT: u32 = 1;
const STDERR: u32 = 2;
const READY: u32 = 3;

/// What a stream takes at once, in bytes. The number is that of the reference implementation.
const WRITE_BYTES: u64 = 64 << 10;

type Context<'a> = StoreContextMut<'a, StoreData>;
type Streamed<T> = (Result<T, StreamError>,);

/// `stream-error` of `wasi:io/streams`.
#[derive(ComponentType, Lower)]
#[component(variant)]
enum StreamError {
    /// Nothing fails here; the type has to say that it could.
    #[component(name = "last-operation-failed")]
    #[expect(dead_code, reason = "part of the type in WASI")]
    LastOperationFailed(Resource<Failure>),
    #[component(name = "closed")]
    Closed,
}

/// Links the functions that hand out the standard streams.
pub(super) fn answer_standard(
    linked: &mut LinkerInstance<'_, StoreData>,
    interface: &str,
    function: &str,
) -> wasmtime::Result<bool> {
    match (interface, function) {
        ("cli/stdin", "get-stdin") => {
            linked.func_wrap(function, |_: Context<'_>, (): ()| Ok((handle::<Input>(STDIN),)))?;
        }
        ("cli/stdout", "get-stdout") => {
            linked.func_wrap(function, |_: Context<'_>, (): ()| Ok((handle::<Output>(STDOUT),)))?;
        }
        ("cli/stderr", "get-stderr") => {
            linked.func_wrap(function, |_: Context<'_>, (): ()| Ok((handle::<Output>(STDERR),)))?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Links what can be done with the standard streams.
pub(super) fn answer(
    linked: &mut LinkerInstance<'_, StoreData>,
    interface: &str,
    function: &str,
) -> wasmtime::Result<bool> {
    match (interface, function) {
        ("io/streams", "[method]output-stream.check-write") => {
            linked.func_wrap(function, |_: Context<'_>, (_,): (Resource<Output>,)| {
                Ok::<Streamed<u64>, _>((Ok(WRITE_BYTES),))
            })?;
        }
        ("io/streams", "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush") => {
            linked.func_wrap(function, write)?
        }
        ("io/streams", "[method]output-stream.flush" | "[method]output-stream.blocking-flush") => {
            linked.func_wrap(function, |_: Context<'_>, (_,): (Resource<Output>,)| {
                Ok::<Streamed<()>, _>((Ok(()),))
            })?;
        }
        ("io/streams", "[method]output-stream.subscribe") => {
            linked.func_wrap(function, |_: Context<'_>, (_,): (Resource<Output>,)| {
                Ok((handle::<Ready>(READY),))
            })?;
        }
        ("io/streams", "[method]input-stream.read" | "[method]input-stream.blocking-read") => {
            linked.func_wrap(function, |_: Context<'_>, (_, _): (Resource<Input>, u64)| {
                Ok::<Streamed<Vec<u8>>, _>((Err(StreamError::Closed),))
            })?;
        }
        ("io/streams", "[method]input-stream.skip" | "[method]input-stream.blocking-skip") => {
            linked.func_wrap(function, |_: Context<'_>, (_, _): (Resource<Input>, u64)| {
                Ok::<Streamed<u64>, _>((Err(StreamError::Closed),))
            })?;
        }
        ("io/streams", "[method]input-stream.subscribe") => {
            linked.func_wrap(function, |_: Context<'_>, (_,): (Resource<Input>,)| {
                Ok((handle::<Ready>(READY),))
            })?;
        }
        ("io/poll", "[method]pollable.ready") => {
            linked.func_wrap(function, |_: Context<'_>, (_,): (Resource<Ready>,)| Ok((true,)))?;
        }
        ("io/poll", "[method]pollable.block") => {
            linked.func_wrap(function, |_: Context<'_>, (_,): (Resource<Ready>,)| Ok(()))?;
        }
        ("io/poll", "poll") => linked.func_wrap(function, poll)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn write(mut store: Context<'_>, (stream, bytes): (Resource<Output>, Vec<u8>)) -> wasmtime::Result<Streamed<()>> {
    let wasi = &mut store.data_mut().wasi;
    match stream.rep() {
        STDERR => wasi.write_err(&bytes),
        _ => wasi.write_out(&bytes),
    }
    Ok((Ok(()),))
}

/// Whatever is waited for is there: the places of all.
fn poll(_: Context<'_>, (all,): (Vec<Resource<Ready>>,)) -> wasmtime::Result<(Vec<u32>,)> {
    let places = u32::try_from(all.len())?;
    Ok(((0..places).collect(),))
}
