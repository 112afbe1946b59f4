//! Who asks, and for which tenant: bearer tokens, compared by their SHA-256 in constant time. Pure.
use super::problem::Problem;
use crate::domain::TenantId;
use crate::fault;
use crate::settings::AdminToken;
use http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Longest tenant id that is taken from a header.
const LONGEST_TENANT: usize = 200;

/// Whose request it is.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) tenant: TenantId,
}

/// Is an operator's token one for all tenants?
#[derive(Debug, Clone, Copy)]
pub(super) struct SeesAll(pub(super) bool);

/// The token that a request carries: 401 if none fits.
pub(super) fn identify<'a>(headers: &HeaderMap, tokens: &'a [AdminToken]) -> Result<&'a AdminToken, Problem> {
    let refuse = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return Err(refuse("a bearer token is needed: Authorization: Bearer …"));
    };
    let text = value.to_str().map_err(|_| refuse("the bearer token is not accepted"))?;
    let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (_, token) = token.ok_or_else(|| refuse("a bearer token is needed: Authorization: Bearer …"))?;
    let hash = digest(token.trim().as_bytes());
    // every token is looked at: how long it takes says nothing
    let mut found = None;
    for known in tokens {
        if bool::from(known.sha256.ct_eq(&hash)) {
            found = Some(known);
        }
    }
    found.ok_or_else(|| refuse("the bearer token is not accepted"))
}

/// SHA-256.
pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// The tenant that a request is about: 403 if none is named or another's is.
pub(super) fn tenant(headers: &HeaderMap, token: &AdminToken) -> Result<TenantId, Problem> {
    let refuse = |code, detail: &str| Err(Problem::new(StatusCode::FORBIDDEN, code, detail));
    let fits = |text: &str| (1..=LONGEST_TENANT).contains(&text.len()) || fault::planted("tenant-believed");
    let mut named = headers.get_all("x-tenant-id").iter();
    let tenant = match (named.next(), named.next()) {
        (None, _) => None,
        (Some(value), None) => match value.to_str().map(str::trim) {
            Ok(text) if fits(text) => Some(text),
            _ => return refuse("tenant_invalid", "X-Tenant-Id must be 1 to 200 printable ASCII characters"),
        },
        (Some(_), Some(_)) => return refuse("tenant_invalid", "X-Tenant-Id is given twice"),
    };
    match tenant {
        Some(tenant) if token.tenant == "*" || token.tenant == tenant => Ok(TenantId::new(tenant)),
        Some(_) => refuse("tenant_forbidden", "this token is for another tenant"),
        None if token.tenant == "*" => refuse("tenant_missing", "this token needs the header X-Tenant-Id"),
        None => Ok(TenantId::new(&token.tenant)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Scope;
    use http::HeaderValue;

    fn token(text: &str, tenant: &str) -> AdminToken {
        let sha256 = digest(text.as_bytes());
        AdminToken { name: text.into(), sha256, tenant: tenant.into(), scope: Scope::Write }
    }
    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (http::HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn tokens_are_found_by_their_text_alone() {
        let tokens = [token("one", "*"), token("two", "t")];
        for (given, name) in [
            ("Bearer one", Some("one")),
            ("bearer two ", Some("two")),
            ("Bearer three", None),
            ("Basic one", None),
            ("one", None),
            ("Bearer", None),
            ("Bearer ", None),
        ] {
            let found = identify(&headers(&[("authorization", given)]), &tokens);
            assert_eq!(found.ok().map(|t| t.name.as_str()), name, "{given}");
        }
        assert!(identify(&headers(&[]), &tokens).is_err());
        let mut twice = headers(&[("authorization", "Bearer one")]);
        twice.append("authorization", HeaderValue::from_static("Bearer two"));
        assert!(identify(&twice, &tokens).is_err());
        assert!(identify(&headers(&[("authorization", "Bearer one")]), &[]).is_err());
    }

    #[test]
    fn a_tenant_is_named_by_the_request_or_by_the_token() {
        for (of_token, named, expected) in [
            ("*", Some("a"), Ok("a")),
            ("*", None, Err("tenant_missing")),
            ("*", Some(" "), Err("tenant_invalid")),
            ("a", None, Ok("a")),
            ("a", Some("a"), Ok("a")),
            ("a", Some("b"), Err("tenant_forbidden")),
        ] {
            let headers = named.map_or_else(HeaderMap::new, |named| headers(&[("x-tenant-id", named)]));
            let found = tenant(&headers, &token("x", of_token));
            let found = found.as_ref().map(TenantId::as_str).map_err(|p| p.code);
            assert_eq!(found, expected, "{of_token} {named:?}");
        }
    }

    #[test]
    fn a_tenant_is_named_once_and_is_not_too_long() {
        let named = |length: usize| {
            let mut headers = HeaderMap::new();
            headers.insert("x-tenant-id", HeaderValue::from_str(&"t".repeat(length)).unwrap());
            headers
        };
        assert!(
            tenant(&named(200), &token("x", "*")).is_ok() && tenant(&named(201), &token("x", "*")).is_err()
        );
        let mut twice = named(1);
        twice.append("x-tenant-id", HeaderValue::from_static("t"));
        assert_eq!(tenant(&twice, &token("x", "t")).unwrap_err().code, "tenant_invalid");
    }
}
