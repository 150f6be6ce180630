//! The integration tests, one binary. Each module promises something a user relies on, and tries it on the built server.

mod bounded_reads;
mod caps;
mod clock_jumps;
mod command_line;
mod compatibility;
mod crash;
mod described_interface;
mod event_stream;
mod foreign_verdicts;
mod full_disk;
mod guests;
mod hostile_guests;
mod journal_damage;
mod monitoring;
mod oversized_commands;
mod plugin_directory;
mod reading;
mod recovery;
mod reload;
mod required;
mod rule_changes;
mod scenarios;
mod stopping;
mod tenants;
mod tidy;
mod wrong_input;
