//! Randomness for plugins: bytes that nobody can tell from random ones without knowing the journal, and that are the same
//! whenever the same call is made again (invariant I10). Not for secrets, and nothing here reads the system's source.

use donjon_core::TenantId;
use sha2::{Digest, Sha256};
use wasmtime::StoreContextMut;
use wasmtime::component::LinkerInstance;

use crate::host::StoreData;

/// Most bytes that are answered at once: nothing interrupts the host while it makes them.
const MAX_BYTES_AT_ONCE: u64 = 64 << 10;

type Context<'a> = StoreContextMut<'a, StoreData>;

/// The random bytes of one call, one after the other.
pub(crate) struct Stream {
    seed: [u8; 32],
    blocks: u64,
}

impl Stream {
    /// Those of the call whose first alert has this `seq`, or of the calls without alerts.
    pub(crate) fn new(plugin: &str, tenant: &TenantId, seq: Option<u64>) -> Stream {
        let mut digest = Sha256::new_with_prefix(b"donjon wasi random 1\0");
        for text in [plugin, tenant.as_str()] {
            digest.update(text.as_bytes());
            // Neither name contains one.
            digest.update([0]);
        }
        digest.update([u8::from(seq.is_some())]);
        digest.update(seq.unwrap_or(0).to_le_bytes());
        Stream {
            seed: digest.finalize().into(),
            blocks: 0,
        }
    }

    fn block(&mut self) -> [u8; 32] {
        let mut digest = Sha256::new_with_prefix(self.seed);
        digest.update(self.blocks.to_le_bytes());
        self.blocks += 1;
        digest.finalize().into()
    }

    fn bytes(&mut self, count: u64) -> wasmtime::Result<Vec<u8>> {
        if count > MAX_BYTES_AT_ONCE {
            wasmtime::bail!(
                "at most {MAX_BYTES_AT_ONCE} random bytes can be had at once, the plugin asked for {count}"
            );
        }
        let count = usize::try_from(count)?;
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            let block = self.block();
            bytes.extend(block.iter().take(count - bytes.len()));
        }
        Ok(bytes)
    }

    fn number(&mut self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.block();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

/// The names of functions differ from interface to interface, so that the name alone says what is asked for.
pub(super) fn answer(linked: &mut LinkerInstance<'_, StoreData>, function: &str) -> wasmtime::Result<bool> {
    match function {
        "get-random-bytes" | "get-insecure-random-bytes" => {
            linked.func_wrap(function, |mut store: Context<'_>, (count,): (u64,)| {
                Ok((store.data_mut().wasi.random().bytes(count)?,))
            })?;
        }
        "get-random-u64" | "get-insecure-random-u64" => {
            linked.func_wrap(function, |mut store: Context<'_>, (): ()| {
                Ok((store.data_mut().wasi.random().number(),))
            })?;
        }
        "insecure-seed" => {
            linked.func_wrap(function, |mut store: Context<'_>, (): ()| {
                let random = store.data_mut().wasi.random();
                Ok(((random.number(), random.number()),))
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
    fn the_same_call_gives_the_same_bytes_and_no_other_call_does() {
        let tenant = |name: &str| TenantId::from(name);
        let bytes = |plugin: &str, name: &str, seq| Stream::new(plugin, &tenant(name), seq).bytes(100).unwrap();
        let one = bytes("p", "keep", Some(7));
        assert_eq!(one, bytes("p", "keep", Some(7)));
        assert_eq!(one.len(), 100);
        for other in [
            bytes("q", "keep", Some(7)),
            bytes("p", "other", Some(7)),
            bytes("p", "keep", Some(8)),
            bytes("p", "keep", None),
        ] {
            assert_ne!(one, other);
        }
        assert_ne!(bytes("p", "keep", Some(0)), bytes("p", "keep", None));
        let mut stream = Stream::new("p", &tenant("keep"), Some(7));
        assert_ne!(stream.bytes(32).unwrap(), stream.bytes(32).unwrap());
        assert!(
            stream
                .bytes(MAX_BYTES_AT_ONCE + 1)
                .unwrap_err()
                .to_string()
                .contains("65536")
        );
    }
}
