//! How large an item is: in the journal, where it may be too large, and in memory while it waits for the worker, where
//! all together may be. Counted once, where the item is made. Knows no limit but that of an entry.

use std::mem::size_of;

use donjon_core::TenantId;
use donjon_core::value::{Object, Value};
use donjon_store::journal::command_bytes;
use donjon_store::limits::MAX_ENTRY_BYTES;

use super::{Item, NewAlert, Refused};

/// What an entry takes beside its texts: lengths, times, numbers.
const ENTRY_OVERHEAD_BYTES: usize = 64;
/// What an alert takes in memory beside its attributes: identifiers, times, its place in queues.
const ALERT_OVERHEAD_BYTES: usize = 1024;
/// What the allocator takes for a text or a list beside its content.
const ALLOCATION_BYTES: usize = 16;

/// The two sizes of an item, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ItemSize {
    /// In the journal, before compression.
    pub(super) entry: u64,
    /// In memory on its way to the worker: the parsed tree, not its text, which stays in the journal.
    pub(super) memory: u64,
}

/// The sizes of the items of a request.
///
/// # Errors
/// One of them does not fit into an entry of the journal: nothing of the request is taken.
pub(super) fn sizes_of(tenant: &TenantId, items: &[Item]) -> Result<Vec<ItemSize>, Refused> {
    items.iter().map(|item| size_of_item(tenant, item)).collect()
}

fn size_of_item(tenant: &TenantId, item: &Item) -> Result<ItemSize, Refused> {
    let content = match item {
        Item::Alert(new) => {
            new.document.len() + new.event_id.as_str().len() + new.provider.len() + new.api_key_name.len()
        }
        Item::DeadLetter { provider, reason, raw } => provider.len() + reason.len() + raw.len(),
        Item::Command { actor, guard, command } => actor.len() + command_bytes(guard, command),
    };
    let entry = content + tenant.as_str().len() + ENTRY_OVERHEAD_BYTES;
    if entry > MAX_ENTRY_BYTES {
        return Err(Refused::TooLarge {
            limit: MAX_ENTRY_BYTES,
            found: entry,
        });
    }
    Ok(ItemSize {
        entry: entry as u64,
        memory: memory_of(item),
    })
}

/// What an item takes of memory on its way to the worker, without its document.
pub(crate) fn memory_of(item: &Item) -> u64 {
    let memory = match item {
        Item::Alert(new) => memory_of_alert(new),
        Item::DeadLetter { provider, reason, .. } => provider.len() + reason.len(),
        Item::Command { actor, guard, command } => actor.len() + command_bytes(guard, command),
    };
    (memory + ENTRY_OVERHEAD_BYTES) as u64
}

fn memory_of_alert(new: &NewAlert) -> usize {
    ALERT_OVERHEAD_BYTES + new.provider.len() + new.api_key_name.len() + tree_bytes(&new.alert.attributes)
}

/// What a tree takes, about: a list of numbers is sixteen times as large as its text.
fn tree_bytes(attributes: &Object) -> usize {
    let mut bytes = 0;
    let mut objects = vec![attributes];
    let mut lists: Vec<&[Value]> = Vec::new();
    loop {
        if let Some(object) = objects.pop() {
            bytes += ALLOCATION_BYTES + object.len() * (size_of::<Value>() + size_of::<String>());
            for (key, value) in object.iter() {
                bytes += ALLOCATION_BYTES + key.len();
                bytes += inner_bytes(value, &mut objects, &mut lists);
            }
        } else if let Some(list) = lists.pop() {
            bytes += ALLOCATION_BYTES + size_of_val(list);
            for value in list {
                bytes += inner_bytes(value, &mut objects, &mut lists);
            }
        } else {
            return bytes;
        }
    }
}

/// What a value takes beyond its own place; objects and lists are put off.
fn inner_bytes<'a>(value: &'a Value, objects: &mut Vec<&'a Object>, lists: &mut Vec<&'a [Value]>) -> usize {
    match value {
        Value::Text(text) => ALLOCATION_BYTES + text.len(),
        Value::Object(object) => {
            objects.push(object);
            0
        }
        Value::List(list) => {
            lists.push(list);
            0
        }
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use donjon_core::command::{Command, Guard};

    use super::*;

    #[test]
    fn a_tree_is_counted_as_memory_and_not_as_text() {
        let ones = |count| Object::from_iter([("a".to_owned(), Value::List(vec![Value::Int(1); count]))]);
        let (small, large) = (tree_bytes(&ones(0)), tree_bytes(&ones(100_000)));
        assert_eq!(large - small, 100_000 * size_of::<Value>());
        let mut deep = Value::Null;
        for _ in 0..100 {
            deep = Value::Object(Object::from_iter([("k".to_owned(), deep)]));
        }
        assert!(tree_bytes(&Object::from_iter([("deep".to_owned(), deep)])) > 100 * size_of::<Value>());
    }

    #[test]
    fn a_command_is_counted_and_refused_by_itself_when_it_does_not_fit() {
        let tenant = TenantId::from("t");
        let dismiss = |count: u64| Item::Command {
            actor: "a".into(),
            guard: Guard::default(),
            command: Command::DismissDeadLetters {
                seqs: Some((1_000_000_000..1_000_000_000 + count).collect()),
            },
        };
        let sizes = sizes_of(&tenant, &[dismiss(1000)]).unwrap();
        assert!(sizes[0].memory > 5000 && sizes[0].entry > 5000, "{sizes:?}");
        let refused = sizes_of(&tenant, &[dismiss(1_800_000)]).unwrap_err();
        assert!(matches!(refused, Refused::TooLarge { .. }), "{refused}");
    }
}
