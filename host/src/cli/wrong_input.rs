//! The error of whoever typed something wrong, whichever command finds it.

/// Wrong input or configuration: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongInput(pub String);
