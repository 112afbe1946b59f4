//! Purpose: what every request passes before its handler: Host, token, limit, scope, tenant. Must not: depend on a resource.
use super::Api;
use super::problem::Problem;
use crate::access::{Caller, SeesAll, token};
use crate::settings::AdminSettings;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use std::net::IpAddr;
use tokio::time::Instant;

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Anybody, under any Host: probes.
    Probe,
    /// Anybody who names us rightly.
    Open,
    /// A token, no tenant.
    Operator,
    /// A token and a tenant.
    Read,
    /// A token that may write, and a tenant.
    Write,
}

/// Refuses names that are not ours: a page in a browser cannot reach us by pointing its own name here.
pub(super) async fn host(State(api): State<Api>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let probe = path == "/healthz" || path == "/readyz";
    if !probe && !is_ours(request.headers(), request.uri(), &api.settings().access) {
        let detail = "this Host is not served here; see admin.allowed_hosts";
        return Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", detail).into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Token, limit, scope and tenant; the handler finds the `Caller` among the extensions.
pub(super) async fn admit(
    State((api, access)): State<(Api, Access)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if matches!(access, Access::Probe | Access::Open) {
        return Ok(next.run(request).await);
    }
    let settings = api.settings();
    let known = token::identify(request.headers(), &settings.access.tokens)?;
    api.0.limiter.take(&known.name, Instant::now())?;
    if access == Access::Write {
        token::may_write(known)?;
    }
    if access == Access::Operator {
        request.extensions_mut().insert(SeesAll(known.tenant == "*"));
    } else {
        let tenant = token::tenant(request.headers(), known)?;
        request.extensions_mut().insert(Caller { tenant });
    }
    Ok(next.run(request).await)
}

/// localhost, the loopback addresses, the listen address, and `allowed_hosts`; any port.
fn is_ours(headers: &HeaderMap, uri: &Uri, settings: &AdminSettings) -> bool {
    let mut given = headers.get_all(header::HOST).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return false };
    let Ok(authority) = value.to_str().unwrap_or_default().parse::<http::uri::Authority>() else {
        return false;
    };
    if uri.host().is_some_and(|named| !named.eq_ignore_ascii_case(authority.host())) {
        return false;
    }
    let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return address.is_loopback() || address == settings.listen.ip() || listed(settings, bare);
    }
    host == "localhost" || listed(settings, &host)
}

fn listed(settings: &AdminSettings, host: &str) -> bool {
    settings.allowed_hosts.iter().any(|allowed| {
        let allowed = allowed.trim_end_matches('.').trim_start_matches('[').trim_end_matches(']');
        allowed.eq_ignore_ascii_case(host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_are_served() {
        let settings = AdminSettings {
            listen: "10.1.2.3:9400".parse().unwrap(),
            allowed_hosts: vec!["tailhook.erp.example".into(), "[fd00::1]".into()],
            tokens: vec![],
        };
        for (host, expected) in [
            ("localhost", true),
            ("LOCALHOST:9400", true),
            ("127.0.0.1:1", true),
            ("[::1]:9400", true),
            ("10.1.2.3", true),
            ("Tailhook.ERP.example.:9400", true),
            ("[fd00::1]", true),
            ("evil.example", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("10.1.2.4", false),
            ("", false),
            ("user@localhost", true),
            ("a b", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            assert_eq!(is_ours(&headers, &Uri::from_static("/x"), &settings), expected, "{host}");
            headers.append(header::HOST, HeaderValue::from_static("localhost"));
            assert!(!is_ours(&headers, &Uri::from_static("/x"), &settings), "twice: {host}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        assert!(!is_ours(&headers, &Uri::from_static("http://evil.example/x"), &settings));
        assert!(is_ours(&headers, &Uri::from_static("http://LOCALHOST:9400/x"), &settings));
        assert!(!is_ours(&HeaderMap::new(), &Uri::from_static("/x"), &settings));
    }
}
