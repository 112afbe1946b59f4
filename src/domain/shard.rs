//! Purpose: which owner a delivery belongs to, where several instances share the work. Must not: depend on who owns it now.
use super::TenantId;
use std::fmt;
use xxhash_rust::xxh3::xxh3_64;

/// One of so many parts of all deliveries. Breaker, rate, window and order of an endpoint belong to the one owner of its shard.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shard {
    /// From 0.
    number: u16,
    /// At least 1.
    of: u16,
}

impl Shard {
    /// All of one machine's.
    pub const WHOLE: Self = Self { number: 0, of: 1 };

    /// Every shard of so many; at least one.
    pub fn all(of: u16) -> impl Iterator<Item = Self> {
        let of = of.max(1);
        (0..of).map(move |number| Self { number, of })
    }
    /// That of a tenant's endpoints on the host and port of a URL.
    pub fn home(tenant: &TenantId, url: &str, of: u16) -> Self {
        let of = of.max(1);
        let text = [tenant.as_str(), "\0", &authority(url)].concat();
        Self { number: (xxh3_64(text.as_bytes()) % u64::from(of)) as u16, of }
    }
    /// Does a delivery to this URL belong to it?
    pub fn has(self, tenant: &TenantId, url: &str) -> bool {
        self.of == 1 || Self::home(tenant, url, self.of) == self
    }
    /// From 0.
    pub fn number(self) -> u16 {
        self.number
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

/// Host and port, the scheme's own port where none is given.
fn authority(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest).to_ascii_lowercase();
    let after_host = authority.rsplit(']').next().unwrap_or(&authority);
    match (after_host.contains(':'), scheme) {
        (true, _) => authority,
        (false, "http") => authority + ":80",
        (false, _) => authority + ":443",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_one_host_and_port_have_one_home() {
        let (a, b) = (TenantId::new("a"), TenantId::new("b"));
        let one = Shard::home(&a, "https://Hooks.example/one", 16);
        for same in ["https://hooks.example:443/two?x", "https://hooks.example", "https://hooks.example#f"] {
            assert_eq!(Shard::home(&a, same, 16), one, "{same}");
        }
        let homes = |tenant: &TenantId, url: fn(u32) -> String| {
            (0..200)
                .map(|n| Shard::home(tenant, &url(n), 16).number())
                .collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(homes(&a, |n| format!("https://h{n}.example/")).len(), 16, "hosts are spread");
        assert_eq!(homes(&b, |n| format!("https://[2001:db8::1]:{}/", 1000 + n)).len(), 16, "and ports");
        assert_eq!(homes(&b, |n| format!("https://[2001:db8::1]/{n}")).len(), 1);
    }

    #[test]
    fn each_delivery_has_one_owner() {
        let tenant = TenantId::new("a");
        for n in 0..100 {
            let url = format!("https://h{n}.example/");
            assert_eq!(Shard::all(7).filter(|shard| shard.has(&tenant, &url)).count(), 1);
            assert!(Shard::WHOLE.has(&tenant, &url));
        }
        assert_eq!((Shard::all(0).count(), Shard::all(3).count()), (1, 3));
    }
}
