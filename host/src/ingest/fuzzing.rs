//! What the fuzz target `ingest_body` calls: bodies of strangers, decompressed, taken apart and normalised, and read back
//! from the journal as a replay would. Never part of taking alerts in.

use bytes::Bytes;
use donjon_core::digest::content_digest;
use donjon_core::{Timestamp, Value};

use super::providers::Provider;
use super::{Origin, body, normalise, read};
use crate::http::in_flight::{ByteBudget, InFlight};
use crate::intake::Item;
use crate::json;

const MAX_ITEMS: usize = 1_000;
const MAX_BODY_BYTES: usize = 1 << 20;
const BUDGET_BYTES: u64 = 16 << 20;

/// A body: its first byte chooses provider, encoding and whether it is lines. What is taken is within the limits, and says
/// the same when it is read back.
///
/// # Panics
/// When it does not: that is what is looked for.
pub fn ingest_body(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let providers = [
        Provider::Keep,
        Provider::Prometheus,
        Provider::Alertmanager,
        Provider::PrometheusV2,
        Provider::Grafana,
    ];
    let Some(provider) = providers.get(usize::from(choice % 5)).copied() else {
        return;
    };
    let encoding = [None, Some("gzip"), Some("zstd")]
        .get(usize::from(choice / 5 % 3))
        .copied();
    let origin = Origin {
        provider_name: provider.as_str().to_owned(),
        provider,
        fingerprint: None,
        api_key_name: String::new(),
        now: Timestamp(1_700_000_000_000),
    };
    let in_flight = InFlight::new(&ByteBudget::new(BUDGET_BYTES));
    let bytes = Bytes::copy_from_slice(rest);
    let Ok(bytes) = body::decompress(bytes, encoding.flatten(), MAX_BODY_BYTES, &in_flight) else {
        return;
    };
    let Ok(parsed) = read(bytes, choice / 15 % 2 == 1, MAX_ITEMS, &origin, &in_flight) else {
        return;
    };
    assert!(parsed.items.len() <= MAX_ITEMS && parsed.items.len() == parsed.told.len());
    let alerts = parsed.items.iter().filter_map(|item| match item {
        Item::Alert(alert) => Some(alert),
        _ => None,
    });
    for new in alerts {
        let document = json::parse_bytes(&new.document);
        let attributes = match document {
            Ok(Value::Object(attributes)) => attributes,
            _ => Default::default(),
        };
        assert!(
            !attributes.is_empty(),
            "a document that is no object: {:?}",
            new.document
        );
        let again = normalise::reread(attributes, &origin.provider_name, new.alert.id_generated);
        let again = again.expect("a replay takes what was taken");
        assert_eq!(again.fingerprint, new.alert.fingerprint, "a replay sees another alert");
        let digest = content_digest(&again.attributes, new.alert.id_generated);
        assert!(digest == new.digest, "a replay sees other content");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn bodies_of_the_corpus_are_taken_or_refused_and_read_back_alike() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/corpus/ingest_body");
        let mut files = 0;
        for file in std::fs::read_dir(dir).unwrap() {
            super::ingest_body(&std::fs::read(file.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files > 0, "no corpus in {dir}");
    }
}
