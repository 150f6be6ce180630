//! Wakes the keeper when the system reports a change in the directory. Only a hint: every look is a full one, and looks
//! come regularly even if nothing is reported.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Watches one directory as long as it lives.
pub struct Watch {
    dir: PathBuf,
    inode: Option<u64>,
    wake: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Watches a directory and wakes whoever waits.
    #[must_use]
    pub fn new(dir: &Path, wake: Arc<Notify>) -> Watch {
        let mut watch = Watch {
            dir: dir.to_owned(),
            inode: None,
            wake,
            watcher: None,
        };
        watch.renew();
        watch
    }

    /// Watches anew if the directory was replaced, or if watching did not work so far.
    pub fn renew(&mut self) {
        let inode = inode_of(&self.dir);
        if self.watcher.is_some() && inode == self.inode {
            return;
        }
        let watcher = watch(&self.dir, Arc::clone(&self.wake));
        self.inode = inode;
        self.watcher = watcher
            .inspect_err(|e| {
                tracing::warn!(dir = %self.dir.display(), "changes are not reported here; looking regularly instead: {e}");
            })
            .ok();
    }
}

fn inode_of(dir: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(dir).ok().map(|metadata| metadata.ino())
}

fn watch(dir: &Path, wake: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        if is_change(&event) {
            wake.notify_one();
        }
    })?;
    watcher.watch(dir, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Whether the directory is worth a look. Reading files is reported too, and would wake us for our own reading.
fn is_change(event: &notify::Result<Event>) -> bool {
    match event {
        // An overflowing queue says so in an event without paths.
        Ok(event) if event.need_rescan() => true,
        Ok(event) => match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
            EventKind::Access(_) => false,
            _ => true,
        },
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::Flag;

    #[test]
    fn reading_is_no_change_and_an_overflow_is_one() {
        let event = |kind| Ok(Event::new(kind));
        assert!(!is_change(&event(EventKind::Access(AccessKind::Open(AccessMode::Any)))));
        assert!(!is_change(&event(EventKind::Access(AccessKind::Close(
            AccessMode::Read
        )))));
        assert!(is_change(&event(EventKind::Access(AccessKind::Close(
            AccessMode::Write
        )))));
        assert!(is_change(&event(EventKind::Any)));
        assert!(is_change(&Ok(
            Event::new(EventKind::Access(AccessKind::Any)).set_flag(Flag::Rescan)
        )));
    }
}
