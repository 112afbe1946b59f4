//! Purpose: whose token a request carries, and for which tenant it asks; tokens are compared by their SHA-256 in constant time. Must
//! not: keep a token's text.
use crate::access::AccessRefusal;
use crate::domain::TenantId;
use crate::fault;
use crate::settings::{AdminToken, Scope};
use http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Longest tenant id that is taken from a header.
const LONGEST_TENANT: usize = 200;

/// Whose request it is.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whose data it may see.
    pub tenant: TenantId,
}

/// Is an operator's token one for all tenants?
#[derive(Debug, Clone, Copy)]
pub struct SeesAll(pub bool);

/// The token that a request carries.
pub fn identify<'a>(headers: &HeaderMap, tokens: &'a [AdminToken]) -> Result<&'a AdminToken, AccessRefusal> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return Err(AccessRefusal::NoToken);
    };
    let text = value.to_str().map_err(|_| AccessRefusal::WrongToken)?;
    let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (_, token) = token.ok_or(AccessRefusal::NoToken)?;
    let hash = digest(token.trim().as_bytes());
    // every token is looked at: how long it takes says nothing
    let mut found = None;
    for known in tokens {
        if bool::from(known.sha256.ct_eq(&hash)) {
            found = Some(known);
        }
    }
    found.ok_or(AccessRefusal::WrongToken)
}

/// SHA-256.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// A request that changes something.
pub fn may_write(token: &AdminToken) -> Result<(), AccessRefusal> {
    if token.scope == Scope::Write { Ok(()) } else { Err(AccessRefusal::ReadOnly) }
}

/// The tenant that a request is about.
pub fn tenant(headers: &HeaderMap, token: &AdminToken) -> Result<TenantId, AccessRefusal> {
    let invalid = |detail| Err(AccessRefusal::TenantInvalid(detail));
    let fits = |text: &str| (1..=LONGEST_TENANT).contains(&text.len()) || fault::planted("tenant-believed");
    let mut named = headers.get_all("x-tenant-id").iter();
    let tenant = match (named.next(), named.next()) {
        (None, _) => None,
        (Some(value), None) => match value.to_str().map(str::trim) {
            Ok(text) if fits(text) => Some(text),
            _ => return invalid("X-Tenant-Id must be 1 to 200 printable ASCII characters"),
        },
        (Some(_), Some(_)) => return invalid("X-Tenant-Id is given twice"),
    };
    match tenant {
        Some(tenant) if token.tenant == "*" || token.tenant == tenant => Ok(TenantId::new(tenant)),
        Some(_) => Err(AccessRefusal::TenantForbidden),
        None if token.tenant == "*" => Err(AccessRefusal::TenantMissing),
        None => Ok(TenantId::new(&token.tenant)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            ("*", None, Err("needs the header")),
            ("*", Some(" "), Err("must be 1 to 200")),
            ("a", None, Ok("a")),
            ("a", Some("a"), Ok("a")),
            ("a", Some("b"), Err("another tenant")),
        ] {
            let headers = named.map_or_else(HeaderMap::new, |named| headers(&[("x-tenant-id", named)]));
            let found = tenant(&headers, &token("x", of_token));
            match (found, expected) {
                (Ok(tenant), Ok(expected)) => assert_eq!(tenant.as_str(), expected),
                (Err(refused), Err(part)) => assert!(refused.to_string().contains(part), "{refused}"),
                (found, expected) => panic!("{of_token} {named:?}: {found:?} instead of {expected:?}"),
            }
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
        assert!(matches!(tenant(&twice, &token("x", "t")), Err(AccessRefusal::TenantInvalid(_))));
    }
}
