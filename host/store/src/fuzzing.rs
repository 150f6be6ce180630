//! What the fuzz targets of `tests/fuzz` call: bytes as a hostile or broken disk may hold them. Nothing here is used by the
//! product, and it must not know what the bytes mean.

pub use crate::journal::fuzzing::journal_block;
pub use crate::record::fuzzing::record;

#[cfg(test)]
mod tests {
    /// Everything that a fuzzer ever found worth keeping, once more.
    fn replay(corpus: &str, target: fn(&[u8])) {
        let dir = format!("{}/../../tests/fuzz/corpus/{corpus}", env!("CARGO_MANIFEST_DIR"));
        let mut files = 0;
        for file in std::fs::read_dir(&dir).unwrap() {
            target(&std::fs::read(file.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files > 0, "no corpus in {dir}");
    }

    #[test]
    fn blocks_of_the_corpus_are_read_or_refused() {
        replay("journal_block", super::journal_block);
    }

    #[test]
    fn records_of_the_corpus_are_read_or_refused() {
        replay("record", super::record);
    }
}
