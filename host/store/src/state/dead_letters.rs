//! The dead letters of each tenant: put, dismissed, and the oldest forgotten above a cap, so that a sender of nothing
//! but rubbish fills no disk. What was sent stays in the journal as long as its day.

use std::collections::{BTreeSet, HashMap};

use donjon_core::state::{StateView, WriteSet};
use donjon_core::{Seq, TenantId};

use super::keys;
use super::reader::StateReader;
use super::write::{BatchError, Writes};
use crate::limits::MAX_DEAD_LETTERS;

/// Which there are, for tenants that had any since the start: read from the state once, then kept up.
#[derive(Default)]
pub(super) struct DeadLetterBook(HashMap<TenantId, BTreeSet<Seq>>);

impl DeadLetterBook {
    /// To be called when a batch was not committed: what is here may be ahead of the state.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// Puts a write set's changes of dead letters into its batch.
    pub(super) fn apply(
        &mut self,
        write: &WriteSet,
        state: &StateReader,
        writes: &mut Writes,
    ) -> Result<(), BatchError> {
        for (tenant, seq, letter) in &write.dead_letters {
            self.of(tenant, state)?.insert(*seq);
            let key = keys::dead_letter(tenant, *seq);
            writes.put(key, letter, || format!("dead letter {seq}"))?;
        }
        for (tenant, seqs) in &write.dismissed {
            let book = self.of(tenant, state)?;
            for seq in seqs {
                book.remove(seq);
                writes.batch.remove(keys::dead_letter(tenant, *seq));
            }
        }
        for (tenant, ..) in &write.dead_letters {
            let book = self.of(tenant, state)?;
            while book.len() > MAX_DEAD_LETTERS
                && let Some(oldest) = book.pop_first()
            {
                writes.batch.remove(keys::dead_letter(tenant, oldest));
            }
        }
        Ok(())
    }

    fn of(&mut self, tenant: &TenantId, state: &StateReader) -> Result<&mut BTreeSet<Seq>, BatchError> {
        if !self.0.contains_key(tenant) {
            let found = state.dead_letter_seqs(tenant).map_err(BatchError::Store)?;
            self.0.insert(tenant.clone(), found.into_iter().collect());
        }
        Ok(self.0.entry(tenant.clone()).or_default())
    }
}
