//! Rules to begin with: created once, while the single tenant has none.

use std::path::PathBuf;

use anyhow::Context;
use donjon_core::command::{Command, Guard};
use donjon_core::state::StateView;
use donjon_core::{RuleId, TenantId};

use crate::config::Role;
use crate::http::Shared;
use crate::http::auth::{Caller, SINGLE_TENANT};
use crate::rules::draft_from_json;

/// Waits for the journal to be replayed, then creates the rules of the file.
pub async fn apply(app: Shared, file: PathBuf) {
    let mut replayed = app.replayed.clone();
    if replayed.wait_for(|replayed| *replayed).await.is_err() {
        return;
    }
    match create(&app, &file).await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "created the starter rules of {}", file.display()),
        Err(error) => tracing::error!("starter rules were not created: {error:#}"),
    }
}

async fn create(app: &Shared, file: &PathBuf) -> anyhow::Result<usize> {
    let tenant = TenantId::from(SINGLE_TENANT);
    if !app.state.rules(&tenant)?.is_empty() {
        return Ok(0);
    }
    let text = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let rules: Vec<serde_json::Value> =
        serde_json::from_slice(&text).with_context(|| format!("{} must be a JSON list of rules", file.display()))?;
    let drafts = rules.iter().map(draft_from_json).collect::<Result<Vec<_>, _>>()?;
    let caller = Caller {
        tenant,
        name: "starter rules".into(),
        role: Role::Admin,
        operator: false,
        admitted: None,
    };
    let count = drafts.len();
    for draft in drafts {
        let id = RuleId::from(uuid::Uuid::new_v4().to_string());
        let command = Command::CreateRule {
            id,
            draft: Box::new(draft),
        };
        app.command(&caller, Guard::default(), command)
            .await
            .map_err(|error| anyhow::anyhow!("{error:?}"))?;
    }
    Ok(count)
}
