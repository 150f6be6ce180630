//! Commands: each a batch of its own, in as many commits as it takes, the cursor with the last. Whether it is applied at
//! all is asked before its first step, and what became of it remembered with its last: whoever gives it again in between
//! waits for it, and after a crash it is done again.

use donjon_core::command::{Command, CommandOutcome, DeadLetter, Guard};
use donjon_core::settle::{CommandMeta, CommandProgress, Guarded, apply_command, go_on, judge_guard, remember_outcome};

use donjon_core::state::StateView;

use super::unstorable::refused_record;
use super::{Worker, WorkerError, rejudge, settle_waiter};
use crate::intake::{Accepted, Applied, Item};

impl Worker {
    pub(super) fn apply_command(&mut self, entry: Accepted) -> Result<(), WorkerError> {
        let waiting_bytes = entry.waiting_bytes();
        let Item::Command { actor, guard, command } = entry.item else {
            return Ok(());
        };
        self.wait_for_room()?;
        let meta = CommandMeta {
            seq: entry.seq,
            accepted: entry.at,
            tenant: entry.tenant.clone(),
            actor,
        };
        let version = self.committed_rules_version(&meta)?;
        let outcome = match self.in_steps(&meta, &guard, command) {
            Ok(outcome) => outcome,
            Err(error) => self.put_command_aside(&meta, &guard, refused_record(error)?)?,
        };
        self.parts.progress.release_bytes(waiting_bytes);
        // Everything else leaves the rule book, and what plugins compiled, as it is.
        if self.committed_rules_version(&meta)? != version {
            if let Some(rules) = self.rule_books.get_mut(&entry.tenant) {
                rules.are_stale();
            }
            // At a replay nobody waits, and the rules after the last change are enough: those of the next alert.
            match entry.waiter {
                Some(_) => self.put_rules_in_force(&entry.tenant)?,
                None => self.parts.line.forget_trouble(&entry.tenant),
            }
        }
        settle_waiter(entry.waiter, Applied::Command(outcome));
        Ok(())
    }

    fn committed_rules_version(&self, meta: &CommandMeta) -> Result<u64, WorkerError> {
        Ok(self.working.committed().tenant(&meta.tenant)?.rules_version)
    }

    /// Applies a command, each step in a commit of its own.
    fn in_steps(&mut self, meta: &CommandMeta, guard: &Guard, command: Command) -> Result<CommandOutcome, WorkerError> {
        let mut progress = match judge_guard(&self.working, meta, guard)? {
            Guarded::Apply => self.first_step(meta, command)?,
            Guarded::Refused(outcome) => CommandProgress::Done(outcome),
            Guarded::Answered(outcome) => {
                self.commit(meta.seq)?;
                return Ok(outcome);
            }
        };
        loop {
            match progress {
                CommandProgress::Done(outcome) => {
                    remember_outcome(&mut self.working, meta, guard, &outcome)?;
                    self.commit(meta.seq)?;
                    return Ok(outcome);
                }
                CommandProgress::More(remaining) => {
                    self.commit(self.parts.progress.applied())?;
                    self.wait_for_room()?;
                    progress = go_on(&mut self.working, meta, remaining)?;
                }
            }
        }
    }

    fn first_step(&mut self, meta: &CommandMeta, command: Command) -> Result<CommandProgress, WorkerError> {
        let Command::Rejudge { from, to, all } = command else {
            return Ok(apply_command(&mut self.working, meta, command)?);
        };
        let judged = self.rejudge(meta, &rejudge::Range { from, to, all })?;
        Ok(CommandProgress::Done(CommandOutcome::Rejudged(judged)))
    }

    /// Keeps a command that cannot be stored as a dead letter. What its earlier steps committed stays.
    fn put_command_aside(
        &mut self,
        meta: &CommandMeta,
        guard: &Guard,
        why: String,
    ) -> Result<CommandOutcome, WorkerError> {
        tracing::error!(
            seq = meta.seq.0,
            "command cannot be stored; it is kept as a dead letter: {why}"
        );
        let letter = DeadLetter {
            reason: why.clone(),
            accepted: meta.accepted,
            provider: String::new(),
        };
        self.working.put_dead_letter(&meta.tenant, meta.seq, letter);
        let outcome = CommandOutcome::NotStorable { why };
        remember_outcome(&mut self.working, meta, guard, &outcome)?;
        self.commit(meta.seq)?;
        Ok(outcome)
    }
}
