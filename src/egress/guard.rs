//! Which URLs and addresses may be reached (SPEC 5, DESIGN 5), pure. Knows no resolver and no socket.
use crate::fault;
use crate::settings::EgressSettings;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use url::{Host, Url};

/// Longest URL that is looked at, in bytes (SPEC 6).
const MAX_URL: usize = 2048;

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}
const fn v6(a: u16, b: u16, c: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

/// IPv4 that is not the public internet (IANA special-purpose registry), and Azure's host agent.
const REFUSED_V4: &[(Ipv4Net, &str)] = &[
    (v4(0, 0, 0, 0, 8), "this network"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "carrier-grade NAT"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "reserved"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 31, 196, 0, 24), "reserved"),
    (v4(192, 52, 193, 0, 24), "reserved"),
    (v4(192, 88, 99, 0, 24), "6to4 relay"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(192, 175, 48, 0, 24), "reserved"),
    (v4(198, 18, 0, 0, 15), "benchmarking"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 0, 4), "reserved or broadcast"),
    (v4(168, 63, 129, 16, 32), "cloud metadata"),
];
/// What is refused inside `2000::/3`; everything outside it is refused anyway.
const REFUSED_V6: &[(Ipv6Net, &str)] = &[
    (v6(0x2001, 0, 0, 23), "reserved (Teredo and others)"),
    (v6(0x2001, 0x0db8, 0, 32), "documentation"),
    (v6(0x2002, 0, 0, 16), "6to4"),
    (v6(0x2620, 0x004f, 0x8000, 48), "reserved"),
    (v6(0x3ffe, 0, 0, 16), "6bone"),
    (v6(0x3fff, 0, 0, 20), "documentation"),
];
const GLOBAL_V6: Ipv6Net = v6(0x2000, 0, 0, 3);
const LINK_LOCAL_V6: Ipv6Net = v6(0xfe80, 0, 0, 10);
const NAT64: Ipv6Net = v6(0x0064, 0xff9b, 0, 96);
const LOCAL_NAT64: Ipv6Net = v6(0x0064, 0xff9b, 1, 48);
const TEREDO: Ipv6Net = v6(0x2001, 0, 0, 32);
const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 0, 16);
const COMPATIBLE: Ipv6Net = v6(0, 0, 0, 96);
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254);
const METADATA: &str = "cloud metadata, which no setting opens";

/// Why an address may not be dialled; `None`: it may. `allow_networks` opens ranges, but never metadata services.
pub fn refused(ip: IpAddr, allow_networks: &[IpNet]) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) if is_metadata(ip) => Some(METADATA),
        IpAddr::V4(_) if allowed(ip, allow_networks) => None,
        IpAddr::V4(ip) => REFUSED_V4.iter().find(|(net, _)| net.contains(&ip)).map(|(_, why)| *why),
        IpAddr::V6(ip) => match judged_inside(ip) {
            Some(inner) => refused(inner.into(), allow_networks),
            None => refused_v6(ip, allow_networks),
        },
    }
}

fn refused_v6(ip: Ipv6Addr, allow_networks: &[IpNet]) -> Option<&'static str> {
    if ip == METADATA_V6 || LINK_LOCAL_V6.contains(&ip) || embedded(ip).is_some_and(is_metadata) {
        return Some(METADATA);
    }
    if allowed(ip.into(), allow_networks) {
        return None;
    }
    if !GLOBAL_V6.contains(&ip) {
        return Some("not a global IPv6 address");
    }
    REFUSED_V6.iter().find(|(net, _)| net.contains(&ip)).map(|(_, why)| *why)
}

fn is_metadata(ip: Ipv4Addr) -> bool {
    ip == Ipv4Addr::new(169, 254, 169, 254) || ip == Ipv4Addr::new(168, 63, 129, 16)
}

fn allowed(ip: IpAddr, allow_networks: &[IpNet]) -> bool {
    let ip = match ip {
        IpAddr::V6(v6) => judged_inside(v6).map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    };
    allow_networks.iter().any(|net| net.contains(&ip))
}

/// IPv4 written as IPv6 by the stack itself: judged by what is inside.
fn judged_inside(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    ip.to_ipv4_mapped().or_else(|| NAT64.contains(&ip).then(|| last_four(ip)))
}

/// IPv4 behind a tunnel: refused as a whole; looked into so that `allow_networks` cannot open metadata by it.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let o = ip.octets();
    if SIX_TO_FOUR.contains(&ip) {
        Some(Ipv4Addr::new(o[2], o[3], o[4], o[5]))
    } else if TEREDO.contains(&ip) {
        Some(Ipv4Addr::new(!o[12], !o[13], !o[14], !o[15]))
    } else if LOCAL_NAT64.contains(&ip) || COMPATIBLE.contains(&ip) {
        Some(last_four(ip))
    } else {
        None
    }
}

fn last_four(ip: Ipv6Addr) -> Ipv4Addr {
    let o = ip.octets();
    Ipv4Addr::new(o[12], o[13], o[14], o[15])
}

/// A URL that passed: what is dialled, asked for and verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// TLS or, with `allow_http`, not.
    pub https: bool,
    /// Name in ASCII, or address. Never empty.
    pub host: Host<String>,
    /// Port.
    pub port: u16,
    /// `Host` header: with the port unless it is the scheme's own.
    pub authority: String,
    /// Path and query.
    pub path: String,
}

impl Target {
    /// What the certificate must be valid for and, for names, the SNI: no trailing dot, no brackets, never empty.
    pub fn server_name(&self) -> String {
        match &self.host {
            Host::Domain(name) => name.trim_end_matches('.').to_string(),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        }
    }
    /// The address, if the host is one.
    pub fn literal(&self) -> Option<IpAddr> {
        match self.host {
            Host::Domain(_) => None,
            Host::Ipv4(ip) => Some(ip.into()),
            Host::Ipv6(ip) => Some(ip.into()),
        }
    }
}

/// The rules with their settings.
#[derive(Debug, Clone)]
pub struct Guard {
    allow_http: bool,
    networks: Vec<IpNet>,
    ports: Vec<u16>,
}

impl Guard {
    /// From `[egress]`.
    pub fn new(settings: &EgressSettings) -> Self {
        Self {
            allow_http: settings.allow_http,
            networks: settings.allow_networks.clone(),
            ports: settings.ports.clone(),
        }
    }

    /// Reads a URL by WHATWG rules and refuses what can be refused without asking a resolver.
    pub fn parse(&self, text: &str) -> Result<Target, String> {
        if text.len() > MAX_URL {
            return Err(format!("the URL is longer than {MAX_URL} bytes"));
        }
        // The WHATWG parser silently drops tabs and line breaks and turns backslashes: nobody writes that honestly.
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return Err("the URL contains white space, control characters or backslashes".into());
        }
        let url = Url::parse(text).map_err(|e| format!("this is no URL: {e}"))?;
        let https = match url.scheme() {
            "https" => true,
            "http" if self.allow_http => false,
            "http" => return Err("http is refused (egress.allow_http is for development only)".into()),
            other => return Err(format!("the scheme '{other}' is refused: use https")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("user info in the URL is refused".into());
        }
        let host = match url.host() {
            Some(Host::Domain(name)) => Host::Domain(checked_name(name)?),
            Some(Host::Ipv4(ip)) => Host::Ipv4(ip),
            Some(Host::Ipv6(ip)) => Host::Ipv6(ip),
            None => return Err("the URL has no host".into()),
        };
        let port = url.port_or_known_default().unwrap_or(443);
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        let path = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_string(),
        };
        let target = Target { https, host, port, authority, path };
        match target.literal() {
            Some(ip) => self.admit(&target, ip).map(|_| target),
            None if self.networks.is_empty() && !self.port_is_open(&target) => Err(port_refused(port)),
            None => Ok(target),
        }
    }

    /// May this address of the target be dialled?
    pub fn admit(&self, target: &Target, ip: IpAddr) -> Result<SocketAddr, String> {
        if let Some(why) = refused(ip, &self.networks).filter(|_| !fault::planted("address-believed")) {
            return Err(format!("the address {ip} is refused: {why}"));
        }
        if !self.port_is_open(target) && !allowed(ip, &self.networks) {
            return Err(port_refused(target.port));
        }
        Ok(SocketAddr::new(ip, target.port))
    }

    /// For the admin API: everything that can be said about a URL without a resolver (`Resolver::check` asks it).
    pub fn check_url(&self, url: &str) -> Result<(), String> {
        self.parse(url).map(drop)
    }

    fn port_is_open(&self, target: &Target) -> bool {
        // With plain http its own port goes without saying.
        self.ports.contains(&target.port) || (!target.https && target.port == 80)
    }
}

fn port_refused(port: u16) -> String {
    format!("the port {port} is refused (egress.ports)")
}

/// A DNS name after WHATWG and IDNA: letters, digits, `-`, `_`, labels of 1 to 63, at most 253 characters.
fn checked_name(name: &str) -> Result<String, String> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if bare.len() <= 253 && bare.split('.').all(label_fits) {
        Ok(name.to_string())
    } else {
        Err(format!("'{name}' is no host name"))
    }
}

#[cfg(test)]
mod tests;
