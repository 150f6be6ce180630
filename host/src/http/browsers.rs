//! What web pages may make a browser send here: nothing. Any page can address this server from its visitor's machine,
//! without a preflight if it wants to, and can point its own name at it. Knows no route.
//!
//! Senders that are no browsers send neither `Origin` nor `Sec-Fetch-Site`, and are not touched by the second rule.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;

use super::error::ApiError;
use crate::config::{AuthMode, Config};

/// Whose requests are taken.
#[derive(Clone, Debug)]
pub struct Browsers {
    /// Without keys the name under which the server is asked is all that tells a page that was rebound here.
    hosts_matter: bool,
    /// Others may come by an address; an address cannot be rebound.
    any_address: bool,
    allowed_hosts: Vec<String>,
}

impl Browsers {
    /// From the configuration.
    pub fn new(config: &Config) -> Browsers {
        let lower = |host: &String| host.to_ascii_lowercase();
        Browsers {
            hosts_matter: config.auth.mode == AuthMode::None,
            any_address: config.server.allow_open_access,
            allowed_hosts: config.server.allowed_hosts.iter().map(lower).collect(),
        }
    }

    fn check(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        if self.hosts_matter {
            let authority = uri.authority().map(|authority| authority.as_str());
            let named = headers
                .get_all(header::HOST)
                .iter()
                .map(|host| host.to_str().unwrap_or("?"));
            for name in authority.into_iter().chain(named) {
                self.check_host(name)?;
            }
        }
        if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return Ok(());
        }
        self.check_site(headers)
    }

    fn check_host(&self, named: &str) -> Result<(), ApiError> {
        let host = host_of(named);
        let address = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
            .ok();
        let known = match address {
            Some(address) => address.to_canonical().is_loopback() || self.any_address,
            None => host == "localhost" || host.ends_with(".localhost"),
        };
        if known || self.allowed_hosts.contains(&host) {
            return Ok(());
        }
        let text = format!(
            "without authentication this server answers only under loopback names and those in server.allowed_hosts, \
             asked was: {host}"
        );
        Err(ApiError::new(StatusCode::FORBIDDEN, "foreign_host", text))
    }

    fn check_site(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let refused = |what: &str, found: &str| {
            let text = format!("web pages of others may not send to this server; {what}: {found}");
            Err(ApiError::new(StatusCode::FORBIDDEN, "cross_site", text))
        };
        for site in headers.get_all("sec-fetch-site") {
            match site.to_str() {
                Ok("same-origin" | "none") => {}
                other => return refused("Sec-Fetch-Site", other.unwrap_or("?")),
            }
        }
        for origin in headers.get_all(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or("?");
            if !self.is_ours(origin, headers) {
                return refused("Origin", origin);
            }
        }
        Ok(())
    }

    /// Whether a page of this origin came from this server: under the name it is asked by now, or an allowed one.
    fn is_ours(&self, origin: &str, headers: &HeaderMap) -> bool {
        let Some((scheme, authority)) = origin.split_once("://") else {
            return false;
        };
        let port = match scheme {
            "http" => ":80",
            "https" => ":443",
            _ => return false,
        };
        let plain = |name: &str| {
            let name = name.to_ascii_lowercase();
            name.strip_suffix(port).map(str::to_owned).unwrap_or(name)
        };
        let asked = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        asked.is_some_and(|host| plain(host) == plain(authority)) || self.allowed_hosts.contains(&host_of(authority))
    }
}

/// The host of `host:port`, in lower case; brackets of an IPv6 address stay.
fn host_of(authority: &str) -> String {
    let without_port = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    without_port.trim_end_matches('.').to_ascii_lowercase()
}

/// Refuses what a page of another site makes a browser send, before anything else looks at it.
pub async fn guard(State(browsers): State<Arc<Browsers>>, request: Request, next: Next) -> Result<Response, ApiError> {
    browsers.check(request.method(), request.uri(), request.headers())?;
    Ok(next.run(request).await)
}

/// Commands come as JSON: a browser asks before it sends that for a page of another site. Alerts are taken whatever they
/// say they are, because senders of alerts say all sorts of things.
pub async fn json_only(request: Request, next: Next) -> Result<Response, ApiError> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let empty = request.body().size_hint().exact() == Some(0);
    let kind = request.headers().get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if reads || empty || json {
        return Ok(next.run(request).await);
    }
    Err(ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "not_json",
        format!("send JSON, with content-type: application/json, found: {kind:?}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(browsers: &Browsers, method: Method, headers: &[(&'static str, &str)], expected: Option<&str>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let got = browsers.check(&method, &Uri::from_static("/rules"), &map);
        let code = got.as_ref().err().map(ApiError::code);
        assert_eq!(code, expected, "{method} {headers:?}");
    }

    #[test]
    fn names_that_are_not_ours_are_foreign_without_keys() {
        let mut config = Config::default();
        config.server.allowed_hosts = vec!["Donjon.example".into()];
        let closed = Browsers::new(&config);
        for host in [
            "localhost:8080",
            "127.0.0.1:8080",
            "127.9.9.9",
            "[::1]:80",
            "a.localhost",
            "donjon.example:1",
        ] {
            check(&closed, Method::GET, &[("host", host)], None);
        }
        check(&closed, Method::GET, &[], None);
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "localhost.evil.example",
            "[::2]:80",
            "",
        ] {
            check(&closed, Method::GET, &[("host", host)], Some("foreign_host"));
        }
        check(
            &closed,
            Method::GET,
            &[("host", "localhost"), ("host", "evil.example")],
            Some("foreign_host"),
        );
        config.server.allow_open_access = true;
        check(&Browsers::new(&config), Method::GET, &[("host", "10.0.0.1:80")], None);
        config.auth.mode = AuthMode::ApiKey;
        check(&Browsers::new(&config), Method::GET, &[("host", "evil.example")], None);
    }

    #[test]
    fn pages_of_others_may_not_send() {
        let mut config = Config::default();
        config.auth.mode = AuthMode::ApiKey;
        config.server.allowed_hosts = vec!["ui.example".into()];
        let browsers = Browsers::new(&config);
        let host = ("host", "donjon.example");
        for origin in [
            "https://donjon.example",
            "http://donjon.example:80",
            "https://ui.example:8443",
        ] {
            check(&browsers, Method::POST, &[host, ("origin", origin)], None);
        }
        for origin in [
            "null",
            "http://evil.example",
            "https://donjon.example:8443",
            "ftp://donjon.example",
            "",
        ] {
            check(&browsers, Method::POST, &[host, ("origin", origin)], Some("cross_site"));
            check(&browsers, Method::GET, &[host, ("origin", origin)], None);
        }
        for site in ["cross-site", "same-site", "anything"] {
            check(
                &browsers,
                Method::DELETE,
                &[host, ("sec-fetch-site", site)],
                Some("cross_site"),
            );
        }
        check(&browsers, Method::PUT, &[host, ("sec-fetch-site", "same-origin")], None);
        check(&browsers, Method::POST, &[host], None);
    }
}
