//! Where runtime, plugin directory and committed state meet: neither of them knows the others.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use donjon_core::batch::{KvValue, RuleSpec};
use donjon_core::settle::RuleBook;
use donjon_core::state::StateView;
use donjon_runtime::{KvRead, Limits, Plugin, Runtime, RuntimeOptions};
use donjon_store::DataDir;
use donjon_store::state::State;
