//! One seed with several instances: one captures, each delivers for the shards that it holds, and all of them lie over one replicated
//! log. They die, are cut off from the log, and what they wrote arrives late or without an answer. Then the same invariants as for one.
use crate::check;
use crate::disk::Platter;
use crate::duty::{End, Held, both};
use crate::erp::{Erp, LENGTH, Span, Txn};
use crate::ledger::{self, Ledger};
use crate::life::{PATIENCE_MS, Report};
use crate::link::Link;
use crate::members::{CAPTURE, Duty, Members, RENEW, Turn};
use crate::net::Net;
use crate::oracle::Truth;
use crate::plan::{Kind, Plan};
use crate::postgres::Server;
use crate::source::SimSource;
use crate::stream::{Straight, Stream, StreamLog, Way};
use crate::wiring;
use crate::witness;
use crate::world::World;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tailhook::domain::{KeepingError, Shard};
use tailhook::store::index::memory::MemoryIndex;
use tailhook::store::log::joined::JoinedLog;
use tailhook::store::log::port::Log;
use tailhook::store::{OwnerLease, Store, StoreError, StoreScope};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// Shards of a cluster.
const SHARDS: u16 = 3;

/// What all instances share, and what is outside of them.
struct Cluster {
    world: Arc<World>,
    net: Arc<Net>,
    server: Arc<Server>,
    members: Arc<Members>,
    sidecar: wiring::Sidecar,
    txns: Arc<Vec<Txn>>,
    tenants: Vec<String>,
    feed: Stream,
    outcomes: Vec<Stream>,
    /// Every start of a duty is a life of its own.
    lives: AtomicU64,
    /// The stores that are open, by duty.
    stores: Mutex<BTreeMap<Duty, Store>>,
    /// What an earlier owner of a shard has left of its index: it is warm, or gone.
    warm: Mutex<BTreeMap<(u64, Duty), MemoryIndex>>,
}

/// Runs one plan.
pub(crate) fn simulate(plan: &Plan, loud: bool) -> Report {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::new(plan, loud);
        let cluster = Arc::new(Cluster::new(&world));
        let ledger = cluster.clone().live(plan.instances).await;
        let spans = cluster.server.spans();
        let excused = cluster.server.excused();
        let truth = Truth::of(&cluster.txns, &spans, &excused);
        check::history(&world, &truth, &ledger, &cluster.net);
        witness::agrees(&world, &cluster.sidecar.mapping, &cluster.txns, (&spans, &excused), &ledger);
        let whole: Vec<Span> = spans.first().map(|first| Span::from(first.from)).into_iter().collect();
        Report {
            trace: world.trace(),
            wrong: world.wrong(),
            events: truth.owed.len() as u64,
            history: Truth::of(&cluster.txns, &whole, &excused).owed.len() as u64,
            lives: cluster.lives.load(Ordering::Relaxed),
            sent: cluster.net.log().len() as u64,
            server_crashes: cluster.server.crashes(),
            length: cluster.txns.len(),
            gaps: 0,
            table_gaps: 0,
        }
    })
}

/// How far capture has come by what is in the stream.
pub(crate) async fn position_of(stream: &Stream, world: &Arc<World>) -> Result<u64, StoreError> {
    let log: Arc<dyn Log> = Arc::new(StreamLog::new(stream, Arc::new(Straight)));
    let store = open(world, log, StoreScope::Capture, &MemoryIndex::default()).await?;
    Ok(store.checkpoint().position().map_or(0, |lsn| lsn.0))
}

async fn open(
    world: &Arc<World>,
    log: Arc<dyn Log>,
    scope: StoreScope,
    index: &MemoryIndex,
) -> Result<Store, StoreError> {
    let disk = Arc::new(Platter::new(world).mount());
    let ground = (disk as Arc<dyn tailhook::disk::Disk>, log, scope);
    Store::open_on(wiring::store_settings(), ground, index.factory(), world.clone())
        .await
        .map(|(store, _)| store)
}

impl Cluster {
    fn new(world: &Arc<World>) -> Self {
        let length = world.rng.range(LENGTH.0, LENGTH.1) as usize;
        let (mut txns, mut tenants) = Erp::new(world.rng.fork()).history(length);
        txns.truncate(world.plan.length.unwrap_or(usize::MAX).max(1));
        tenants.push(crate::rules::CONST_TENANT.to_owned());
        let (txns, sidecar, feed) = (Arc::new(txns), wiring::Sidecar::new(), Stream::default());
        let platter = Platter::new(world);
        let server = Server::new(world, &platter, txns.clone(), sidecar.filler(), Some(feed.clone()));
        server.leave_slot_alone();
        Self {
            world: world.clone(),
            net: Net::new(world),
            server,
            members: Members::new(world),
            sidecar,
            txns,
            tenants,
            feed,
            outcomes: Shard::all(SHARDS).map(|_| Stream::default()).collect(),
            lives: AtomicU64::new(0),
            stores: Mutex::default(),
            warm: Mutex::default(),
        }
    }

    async fn live(self: Arc<Self>, instances: u64) -> Ledger {
        let end = Arc::new(End::default());
        let mut running = JoinSet::new();
        for number in 0..instances {
            running.spawn(self.clone().instance(number, end.clone()));
        }
        let over_ms = self.txns.last().map_or(0, |txn| txn.at_ms) + self.world.rng.below(60_000);
        let clocks = async {
            while self.world.ms() < over_ms && self.world.wrong().is_empty() {
                sleep(Duration::from_millis(self.world.rng.below(120_000))).await;
                self.world.set_clock(&self.world.rng);
            }
        };
        clocks.await;
        self.world.faults_off();
        self.world.note(|| "from here on nothing goes wrong".to_owned());
        if !self.all_ended().await && self.world.wrong().is_empty() {
            self.world.violated(format!("not all ended after {PATIENCE_MS} ms: {}", self.say()));
        }
        let stores = self.stores.lock().unwrap().clone();
        let before = self.ledger(stores.values()).await;
        end.come();
        while running.join_next().await.is_some() {}
        drop(stores);
        let after = self.read_anew().await;
        if before != after {
            let what = format!("{} deliveries before the last stop and {}", before.len(), after.len());
            self.world.violated(format!("{what} after, or not the same"));
        }
        before
    }

    /// Lives of one instance, until nothing more is owed.
    async fn instance(self: Arc<Self>, number: u64, end: Arc<End>) {
        let rng = self.world.rng.fork();
        let link = Link::new(&self.world);
        loop {
            let lasts = Duration::from_millis(3_000 + rng.below(150_000));
            let dies = self.world.faulty(Kind::Deaths);
            tokio::select! {
                biased;
                () = self.clone().life(number, link.clone(), end.clone()) => return,
                () = sleep(lasts), if dies => {
                    self.world.note(|| format!("instance {number} dies"));
                }
            }
            tokio::select! {
                biased;
                () = end.reached() => return,
                () = sleep(Duration::from_millis(rng.below(20_000))) => {}
            }
        }
    }

    /// Asks what is its turn, and does that, until the end.
    async fn life(self: Arc<Self>, number: u64, link: Arc<Link>, end: Arc<End>) {
        let mut duties: BTreeMap<Duty, Held> = BTreeMap::new();
        loop {
            let asked = Instant::now();
            if !link.is_cut() {
                self.members.hello(number);
                for duty in (0..SHARDS).chain([CAPTURE]) {
                    self.turn(number, duty, asked, &link, &mut duties).await;
                }
            }
            tokio::select! {
                biased;
                () = end.reached() => break,
                () = sleep(RENEW) => {}
            }
        }
        for (_, held) in duties {
            held.put_down(&self.world).await;
        }
    }

    async fn turn(
        self: &Arc<Self>,
        number: u64,
        duty: Duty,
        asked: Instant,
        link: &Arc<Link>,
        duties: &mut BTreeMap<Duty, Held>,
    ) {
        match self.members.turn(number, duty, asked) {
            Turn::Held(until) if duties.contains_key(&duty) => {
                duties.entry(duty).and_modify(|held| _ = held.lease.send_replace(until));
            }
            // what lay in memory may be old
            Turn::Held(until) | Turn::Taken(until) => {
                drop(duties.remove(&duty));
                duties.insert(duty, self.take(number, duty, until, link));
            }
            Turn::Release => {
                if let Some(held) = duties.remove(&duty) {
                    held.put_down(&self.world).await;
                }
                self.members.release(number, duty);
            }
            // it has run out: nothing that is still under way counts
            Turn::Others => drop(duties.remove(&duty)),
        }
    }

    fn take(self: &Arc<Self>, number: u64, duty: Duty, until: Instant, link: &Arc<Link>) -> Held {
        let (lease, lasts) = watch::channel(until);
        let (stop, stopped) = watch::channel(false);
        let mut task = JoinSet::new();
        let (cluster, link) = (self.clone(), link.clone());
        task.spawn(async move {
            while !*stopped.borrow() {
                let lasts = OwnerLease::until(lasts.clone());
                let life = cluster.lives.fetch_add(1, Ordering::Relaxed) + 1;
                let came = if duty == CAPTURE {
                    cluster.capture(number, &link, stopped.clone()).await
                } else {
                    cluster.deliver((number, duty, life), &link, lasts, stopped.clone()).await
                };
                cluster.judge(number, duty, &came);
                sleep(Duration::from_millis(200)).await;
            }
        });
        Held { lease, stop, task }
    }

    /// What may end a duty before its time: a log that cannot be read, and another owner.
    fn judge(&self, number: u64, duty: Duty, came: &Result<(), KeepingError>) {
        self.world.note(|| format!("instance {number} ends {duty}: {came:?}"));
        let expected = match came {
            Ok(()) | Err(KeepingError::Fenced(_) | KeepingError::Failed(_) | KeepingError::Gone) => true,
            Err(KeepingError::Refused(_)) => self.world.faulty(Kind::Log),
            Err(_) => false,
        };
        if !expected {
            self.world.violated(format!("instance {number} ends {duty}: {came:?}"));
        }
    }

    async fn capture(
        &self,
        number: u64,
        link: &Arc<Link>,
        stopped: watch::Receiver<bool>,
    ) -> Result<(), KeepingError> {
        let log = Arc::new(StreamLog::new(&self.feed, link.clone()));
        let store = open(&self.world, log, StoreScope::Capture, &MemoryIndex::default()).await?;
        let (position, confirmed) =
            (store.checkpoint().position().map_or(0, |at| at.0), self.server.confirmed_ever());
        self.world.note(|| format!("instance {number} captures from {position:x}"));
        if position < confirmed {
            self.world.violated(format!("confirmed {confirmed:x} but {position:x} is in the log"));
        }
        self.stores.lock().unwrap().insert(CAPTURE, store.clone());
        let source = SimSource::new(&self.server);
        let parts = self.sidecar.capture(&self.world, &store, source, watch::Sender::default(), None);
        let capture = async {
            match tailhook::capture::run(parts, stopped).await {
                Err(tailhook::capture::CaptureError::Store(error)) => Err(error),
                Err(error) => {
                    self.world.violated(format!("capture ended by itself: {error}"));
                    Ok(())
                }
                Ok(()) => Ok(()),
            }
        };
        both(&store, capture).await
    }

    async fn deliver(
        &self,
        (number, duty, life): (u64, Duty, u64),
        link: &Arc<Link>,
        lease: OwnerLease,
        stopped: watch::Receiver<bool>,
    ) -> Result<(), KeepingError> {
        let shard = Shard::all(SHARDS).nth(usize::from(duty)).unwrap();
        let feed = Arc::new(StreamLog::new(&self.feed, link.clone()));
        let own = Arc::new(StreamLog::new(&self.outcomes[usize::from(duty)], link.clone()));
        let index = {
            let mut warm = self.warm.lock().unwrap();
            let index =
                warm.remove(&(number, duty)).filter(|_| self.world.rng.permille(500)).unwrap_or_default();
            warm.insert((number, duty), index.clone());
            index
        };
        let log = Arc::new(JoinedLog::new(feed, own));
        let store = open(&self.world, log, StoreScope::Deliveries(shard), &index).await?;
        self.world.note(|| format!("instance {number} owns {shard:?} in life {life}"));
        self.stores.lock().unwrap().insert(duty, store.clone());
        let transport = self.net.transport_until(life, lease.clone());
        let parts =
            self.sidecar.dispatch(&self.world, store.outbox_until(lease), transport, self.world.rng.fork());
        both(&store, tailhook::dispatch::run(parts, stopped)).await
    }

    /// Every commit is in the log and confirmed, every shard has seen it, and nothing is pending.
    async fn all_ended(&self) -> bool {
        let until = self.world.ms() + PATIENCE_MS;
        let last = self.txns.last().map_or(0, |txn| txn.end);
        // what went wrong need not be waited for
        while self.world.ms() < until && self.world.wrong().is_empty() {
            sleep(Duration::from_millis(500)).await;
            let stores = self.stores.lock().unwrap().clone();
            let done = |store: &Store| {
                let vitals = store.vitals();
                let here = store.checkpoint().position().is_some_and(|at| at.0 >= last);
                here && !vitals.rebuilding && vitals.pending == 0
            };
            let confirmed = self.server.slot().is_some_and(|slot| slot.confirmed >= last);
            if confirmed && stores.len() == usize::from(SHARDS) + 1 && stores.values().all(done) {
                return true;
            }
        }
        false
    }

    fn say(&self) -> String {
        let stores = self.stores.lock().unwrap();
        let each = stores.iter().map(|(duty, store)| {
            format!("{duty}: {:?} at {:?}", store.vitals(), store.checkpoint().position())
        });
        each.collect::<Vec<_>>().join("; ")
    }

    async fn ledger(&self, stores: impl Iterator<Item = &Store>) -> Ledger {
        let mut all = Ledger::new();
        for store in stores {
            all.extend(ledger::of(&self.world, &self.tenants, store).await);
        }
        all.sort_by_key(|(delivery, _)| delivery.key.id);
        all
    }

    /// What whoever reads the logs from the beginning finds.
    async fn read_anew(&self) -> Ledger {
        let mut stores = Vec::new();
        for shard in Shard::all(SHARDS) {
            let way: Arc<dyn Way> = Arc::new(Straight);
            let feed = Arc::new(StreamLog::new(&self.feed, way.clone()));
            let own = Arc::new(StreamLog::new(&self.outcomes[usize::from(shard.number())], way));
            let log = Arc::new(JoinedLog::new(feed, own));
            match open(&self.world, log, StoreScope::Deliveries(shard), &MemoryIndex::default()).await {
                Ok(store) => {
                    if let Err(error) = store.finish_rebuild().await {
                        self.world.violated(format!("{shard:?} cannot be rebuilt: {error}"));
                    }
                    stores.push(store);
                }
                Err(error) => self.world.violated(format!("{shard:?} does not open: {error}")),
            }
        }
        self.ledger(stores.iter()).await
    }
}
