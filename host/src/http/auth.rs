//! Who is calling: an API key decides tenant, role and name. Only digests of keys are kept in memory.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use base64::Engine;
use donjon_core::TenantId;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::body::Admitted;
use super::{App, Shared};
use crate::config::{self, AuthMode, ConfigError, Role};
use crate::http::error::ApiError;
use crate::http::shares::Tenants;

/// The tenant of everybody when no keys are asked for.
pub const SINGLE_TENANT: &str = "keep";

/// The known keys.
pub struct Auth {
    mode: AuthMode,
    keys: Vec<Known>,
    tenants: Tenants,
}

struct Known {
    digest: [u8; 32],
    caller: Caller,
}

/// Who is calling.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Whose data.
    pub tenant: TenantId,
    /// The name of the key.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Whether it may do what concerns all tenants.
    pub operator: bool,
    /// What the request holds in memory; none for what no request brought.
    pub admitted: Option<Arc<Admitted>>,
}

impl Auth {
    /// Prepares the configured keys.
    ///
    /// # Errors
    /// When the file of a key cannot be read.
    pub fn new(config: &config::Auth) -> Result<Auth, ConfigError> {
        // With a single tenant its admin is the only one whom anything can concern.
        let single = config
            .keys
            .iter()
            .all(|key| Some(&key.tenant) == config.keys.first().map(|first| &first.tenant));
        let known = |key: &config::Key| -> Result<Known, ConfigError> {
            let caller = Caller {
                tenant: TenantId::from(key.tenant.as_str()),
                name: key.name.clone(),
                role: key.role,
                operator: key.operator || single,
                admitted: None,
            };
            Ok(Known {
                digest: key.sha256()?,
                caller,
            })
        };
        Ok(Auth {
            mode: config.mode,
            tenants: if single { Tenants::One } else { Tenants::Several },
            keys: config.keys.iter().map(known).collect::<Result<_, _>>()?,
        })
    }

    /// Whether there is more than one tenant.
    #[must_use]
    pub fn tenants(&self) -> Tenants {
        match self.mode {
            AuthMode::None => Tenants::One,
            AuthMode::ApiKey => self.tenants,
        }
    }

    fn caller(&self, parts: &Parts) -> Result<Caller, ApiError> {
        if self.mode == AuthMode::None {
            return Ok(Caller {
                tenant: SINGLE_TENANT.into(),
                name: "anonymous".into(),
                role: Role::Admin,
                operator: true,
                admitted: None,
            });
        }
        let unauthorised = |text: &str| ApiError::new(StatusCode::UNAUTHORIZED, "unauthorised", text);
        let key = presented(parts).ok_or_else(|| unauthorised("Missing API Key"))?;
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        // All are compared, each in the same time whatever differs.
        let known = self.keys.iter().fold(None, |found, known| {
            let fits = bool::from(known.digest.ct_eq(&digest));
            if fits { Some(known) } else { found }
        });
        known
            .map(|known| known.caller.clone())
            .ok_or_else(|| unauthorised("Invalid API Key"))
    }
}

/// The key of a request: bearer token, `X-API-KEY`, query parameter `api_key`, the password of HTTP Basic, then the
/// text of HTTP Digest.
fn presented(parts: &Parts) -> Option<String> {
    let authorization = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    if let Some(token) = authorization.and_then(|value| strip_scheme(value, "bearer")) {
        return Some(token.to_owned());
    }
    if let Some(key) = parts.headers.get("x-api-key").and_then(|value| value.to_str().ok()) {
        return Some(key.to_owned());
    }
    if let Some(key) = parts.uri.query().and_then(|query| query_value(query, "api_key")) {
        return Some(key);
    }
    if let Some(basic) = authorization.and_then(|value| strip_scheme(value, "basic")) {
        let text = base64::engine::general_purpose::STANDARD.decode(basic).ok()?;
        let text = String::from_utf8(text).ok()?;
        return text.split_once(':').map(|(_, password)| password.to_owned());
    }
    authorization
        .and_then(|value| strip_scheme(value, "digest"))
        .map(str::to_owned)
}

fn strip_scheme<'a>(value: &'a str, scheme: &str) -> Option<&'a str> {
    let (name, rest) = value.split_once(' ')?;
    name.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

fn query_value(query: &str, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

impl Caller {
    /// Refuses callers that may not read.
    ///
    /// # Errors
    /// 403 for a key that only sends.
    pub fn may_read(&self) -> Result<(), ApiError> {
        self.allowed(matches!(self.role, Role::Admin | Role::Noc), "read")
    }

    /// Refuses callers that may not send alerts.
    ///
    /// # Errors
    /// 403 for a key that only reads.
    pub fn may_send(&self) -> Result<(), ApiError> {
        self.allowed(matches!(self.role, Role::Admin | Role::Webhook), "send alerts")
    }

    /// Refuses callers that may not change incidents.
    ///
    /// # Errors
    /// 403 for a key that only reads.
    pub fn may_change_incidents(&self) -> Result<(), ApiError> {
        self.allowed(matches!(self.role, Role::Admin | Role::Webhook), "change incidents")
    }

    /// Refuses callers that may not change rules and dismiss dead letters.
    ///
    /// # Errors
    /// 403 for all but admins.
    pub fn may_change(&self) -> Result<(), ApiError> {
        self.allowed(self.role == Role::Admin, "change this")
    }

    /// Refuses callers that may not do what concerns all tenants.
    ///
    /// # Errors
    /// 403 for all but admins, and for admins of one tenant among others whose key is not an operator's.
    pub fn may_operate(&self) -> Result<(), ApiError> {
        self.may_change()?;
        if self.operator {
            return Ok(());
        }
        let text = "plugins are shared by all tenants; this needs a key with operator = true";
        Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", text))
    }

    fn allowed(&self, allowed: bool, what: &str) -> Result<(), ApiError> {
        if allowed {
            return Ok(());
        }
        let role = format!("{:?}", self.role).to_lowercase();
        let text = format!("this key may not {what}; its role is: {role}");
        Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", text))
    }
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Caller, ApiError> {
        let admitted = parts.extensions.get().cloned();
        let caller = App::caller(app, parts)?;
        Ok(Caller { admitted, ..caller })
    }
}

/// A caller that may send alerts; others are refused before their body is read.
pub struct Sender(pub Caller);

impl FromRequestParts<Shared> for Sender {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Shared) -> Result<Sender, ApiError> {
        let caller = App::caller(app, parts)?;
        caller.may_send()?;
        Ok(Sender(caller))
    }
}

impl App {
    fn caller(&self, parts: &Parts) -> Result<Caller, ApiError> {
        self.auth.caller(parts)
    }
}
