//! Names to addresses, and every address past the guard. Knows no connection.
//!
//! The lookup is the system's (`getaddrinfo` on the blocking pool, as `tokio::net::lookup_host` does it), but called
//! by ourselves so that its permit is held until the thread is done: a name that hangs, given up by its attempt,
//! still counts, and the blocking pool (which the disk uses too) cannot be filled by hostile names.
use super::guard::{Guard, Target};
use crate::domain::Failure;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::{Instant, timeout};
use url::Host;

/// How long an answer is used.
const TTL: Duration = Duration::from_secs(30);
/// How long a failure is used: short, it may be ours.
const FAILED_TTL: Duration = Duration::from_secs(2);
/// Names remembered at most.
const CAPACITY: usize = 4096;
/// Lookups under way at most.
const LOOKUPS: usize = 64;
/// How long a lookup waits for its turn: names of others that hang are nothing this one did.
const PERMIT: Duration = Duration::from_secs(1);
/// Addresses of one name that are looked at.
const ADDRESSES: usize = 16;

/// Why there is no address to dial: what is charged, and a line for people.
pub type LookupRefusal = (Failure, String);
type LookupAnswer = Result<Vec<IpAddr>, LookupRefusal>;

#[derive(Debug, Clone)]
struct CachedName {
    asked: Instant,
    /// Filled once; everybody who asks for the name meanwhile waits for the same lookup.
    answer: Arc<OnceCell<LookupAnswer>>,
}

impl CachedName {
    fn is_fresh(&self, now: Instant) -> bool {
        let ttl = match self.answer.get() {
            Some(Err(_)) => FAILED_TTL,
            _ => TTL,
        };
        now.saturating_duration_since(self.asked) < ttl
    }
}

/// Resolves names with a small cache.
#[derive(Debug)]
pub struct Resolver {
    cache: Mutex<BTreeMap<String, CachedName>>,
    permits: Arc<Semaphore>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { cache: Mutex::default(), permits: Arc::new(Semaphore::new(LOOKUPS)) }
    }
}

impl Resolver {
    /// The addresses that may be dialled. One refused address of a name refuses all of them: a name that mixes
    /// public and private addresses is an attack or a mistake.
    pub async fn addresses(&self, guard: &Guard, target: &Target) -> Result<Vec<SocketAddr>, LookupRefusal> {
        let ips = match (&target.host, target.literal()) {
            (Host::Domain(name), _) => self.lookup(name).await?,
            (_, Some(ip)) => vec![ip],
            (_, None) => Vec::new(),
        };
        if ips.is_empty() {
            return Err((Failure::Dns, "the name has no address".into()));
        }
        ips.into_iter().map(|ip| guard.admit(target, ip).map_err(|why| (Failure::Guard, why))).collect()
    }

    /// For the admin API: the guard's verdict with the name as it resolves now; a name that does not is no error.
    pub async fn check(&self, guard: &Guard, url: &str) -> Result<(), String> {
        let target = guard.parse(url)?;
        match self.addresses(guard, &target).await {
            Err((Failure::Guard, why)) => Err(why),
            _ => Ok(()),
        }
    }

    /// A name with these addresses, in this order.
    #[cfg(test)]
    pub(super) fn know(&self, name: &str, addresses: &[IpAddr]) {
        self.entry(name, Instant::now()).set(Ok(addresses.to_vec())).unwrap();
    }

    async fn lookup(&self, name: &str) -> LookupAnswer {
        let cell = self.entry(name, Instant::now());
        let permits = self.permits.clone();
        let answer = cell.get_or_init(|| ask(permits, name.to_string())).await;
        answer.clone()
    }

    fn entry(&self, name: &str, now: Instant) -> Arc<OnceCell<LookupAnswer>> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = cache.get(name).filter(|entry| entry.is_fresh(now)) {
            return entry.answer.clone();
        }
        if cache.len() >= CAPACITY {
            cache.retain(|_, entry| entry.is_fresh(now));
        }
        if cache.len() >= CAPACITY {
            cache.clear();
        }
        let entry = CachedName { asked: now, answer: Arc::default() };
        cache.insert(name.to_string(), entry.clone());
        entry.answer
    }
}

async fn ask(permits: Arc<Semaphore>, name: String) -> LookupAnswer {
    let local = |what: &str| (Failure::Local, what.to_string());
    let permit = timeout(PERMIT, permits.acquire_owned())
        .await
        .map_err(|_| local("too many lookups are under way"))?
        .map_err(|_| local("the resolver is closed"))?;
    let lookup = move || {
        let _held_until_done = permit;
        (name.as_str(), 0).to_socket_addrs().map(Iterator::collect::<Vec<_>>)
    };
    match tokio::task::spawn_blocking(lookup).await {
        Ok(Ok(found)) => {
            let mut ips: Vec<IpAddr> = Vec::new();
            for ip in found.iter().map(SocketAddr::ip) {
                if !ips.contains(&ip) {
                    ips.push(ip);
                }
            }
            ips.truncate(ADDRESSES);
            Ok(ips)
        }
        Ok(Err(e)) => Err(classify(&e)),
        Err(_) => Err(local("the lookup did not end")),
    }
}

/// Is it the name, or are we without a resolver (`EAI_AGAIN`, no descriptors)? Only the text tells them apart: the
/// standard library keeps no number.
fn classify(error: &io::Error) -> LookupRefusal {
    let text = error.to_string();
    let ours =
        error.raw_os_error().is_some() || text.contains("emporary failure") || text.contains("ry again");
    let failure = if ours { Failure::Local } else { Failure::Dns };
    (failure, format!("the name cannot be resolved: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::EgressSettings;

    fn guard(networks: &[&str]) -> Guard {
        let allow_networks = networks.iter().map(|n| n.parse().unwrap()).collect();
        Guard::new(&EgressSettings { allow_networks, ..EgressSettings::default() })
    }

    #[tokio::test]
    async fn a_name_is_judged_by_all_its_addresses() {
        let resolver = Resolver::default();
        let strict = guard(&[]);
        // `localhost` is in every hosts file
        let refusal = resolver.check(&strict, "https://localhost/").await;
        assert!(refusal.unwrap_err().contains("loopback") || !refusal_is_v4(&resolver).await);
        let open = guard(&["127.0.0.0/8", "::1/128"]);
        let target = open.parse("https://localhost:9000/").unwrap();
        let found = resolver.addresses(&open, &target).await.unwrap();
        assert!(found.iter().all(|a| a.ip().is_loopback() && a.port() == 9000) && !found.is_empty());
    }
    async fn refusal_is_v4(resolver: &Resolver) -> bool {
        resolver.lookup("localhost").await.unwrap().iter().all(IpAddr::is_ipv4)
    }

    #[tokio::test]
    async fn one_refused_address_refuses_the_name() {
        let resolver = Resolver::default();
        let cell = resolver.entry("mixed.test", Instant::now());
        cell.set(Ok(vec!["8.8.8.8".parse().unwrap(), "10.0.0.1".parse().unwrap()])).unwrap();
        let guard = guard(&[]);
        let target = guard.parse("https://mixed.test/").unwrap();
        let refusal = resolver.addresses(&guard, &target).await.unwrap_err();
        assert_eq!(refusal.0, Failure::Guard);
        assert!(resolver.check(&guard, "https://mixed.test/").await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_used_for_a_while_and_names_are_bounded() {
        let resolver = Resolver::default();
        let set = |name: &str, answer: LookupAnswer| resolver.entry(name, Instant::now()).set(answer);
        set("good.test", Ok(vec!["8.8.8.8".parse().unwrap()])).unwrap();
        set("bad.test", Err((Failure::Dns, String::new()))).unwrap();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert!(resolver.entry("good.test", Instant::now()).get().is_some());
        assert!(resolver.entry("bad.test", Instant::now()).get().is_none());
        tokio::time::advance(Duration::from_secs(28)).await;
        assert!(resolver.entry("good.test", Instant::now()).get().is_none());
        for n in 0..2 * CAPACITY {
            resolver.entry(&format!("n{n}.test"), Instant::now());
        }
        assert!(resolver.cache.lock().unwrap().len() <= CAPACITY);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_used_no_longer_than_said() {
        for (answer, ttl) in [(Ok(vec![]), TTL), (Err((Failure::Dns, String::new())), FAILED_TTL)] {
            let resolver = Resolver::default();
            let asked = Instant::now();
            resolver.entry("some.test", asked).set(answer).unwrap();
            let used = |after| resolver.entry("some.test", asked + after).get().is_some();
            assert!(used(ttl.checked_sub(Duration::from_millis(1)).unwrap()) && !used(ttl), "{ttl:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_there_are_too_many_names_the_stale_ones_go_first() {
        let resolver = Resolver::default();
        let begun = Instant::now();
        for n in 1..CAPACITY {
            resolver.entry(&format!("n{n}.test"), begun);
        }
        let fresh = resolver.entry("fresh.test", begun + TTL / 2);
        resolver.entry("one-more.test", begun + TTL);
        assert!(Arc::ptr_eq(&fresh, &resolver.entry("fresh.test", begun + TTL)));
        assert_eq!(resolver.cache.lock().unwrap().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_behind_names_that_hang_is_charged_to_nobody() {
        let resolver = Resolver { permits: Arc::new(Semaphore::new(0)), ..Resolver::default() };
        let guard = guard(&[]);
        let target = guard.parse("https://some.test/").unwrap();
        let refusal = resolver.addresses(&guard, &target).await.unwrap_err();
        assert_eq!(refusal.0, Failure::Local);
    }

    #[test]
    fn whose_fault_a_lookup_is() {
        for (error, failure) in [
            (
                io::Error::other("failed to lookup address information: Name or service not known"),
                Failure::Dns,
            ),
            (
                io::Error::other(
                    "failed to lookup address information: Temporary failure in name resolution",
                ),
                Failure::Local,
            ),
            (io::Error::other("failed to lookup address information: Try again"), Failure::Local),
            (io::Error::from_raw_os_error(24), Failure::Local),
        ] {
            assert_eq!(classify(&error).0, failure, "{error}");
        }
    }
}
