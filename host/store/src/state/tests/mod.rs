//! Derived state: what is committed is read, whole or not at all, the same in sled and in memory.

mod commits;
mod equal;
mod lists;
mod plugin_data;
mod queues;
mod reopen;
mod rot;
