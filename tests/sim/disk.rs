//! A simulated data folder: page cache and platter, power cuts, torn appends, EIO and ENOSPC. Knows no frames.
use crate::plan::Kind;
use crate::rng::Rng;
use crate::world::World;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tailhook::disk::Disk;
use tokio::time::sleep;

/// One file: all its bytes, and how far they are on the platter.
#[derive(Debug, Clone, Default)]
struct File {
    bytes: Vec<u8>,
    durable: usize,
    /// A sync failed: bytes from here on may never reach the platter although later syncs succeed, because the
    /// kernel has marked their pages clean. Gone when the file is cut to here or below.
    poisoned: Option<usize>,
}

/// The machine's disk; outlives every life of the sidecar.
#[derive(Debug)]
pub(crate) struct Platter {
    files: Mutex<BTreeMap<String, File>>,
    life: Mutex<u64>,
    /// Nothing fits until then.
    full_until_ms: AtomicU64,
    world: Arc<World>,
    rng: Rng,
    /// No faults and no time: for looking at a copy.
    still: bool,
}

/// The disk as one life of the sidecar sees it. After the crash that ends the life it answers nothing but errors.
#[derive(Debug, Clone)]
pub(crate) struct SimDisk {
    platter: Arc<Platter>,
    life: u64,
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{name} is not there"))
}

impl Platter {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        let rng = world.rng.fork();
        Arc::new(Self {
            files: Mutex::default(),
            life: Mutex::new(0),
            full_until_ms: AtomicU64::new(0),
            world: world.clone(),
            rng,
            still: false,
        })
    }
    /// The disk for the next life.
    pub(crate) fn mount(self: &Arc<Self>) -> SimDisk {
        SimDisk { platter: self.clone(), life: *self.life.lock().unwrap() }
    }
    /// Power cut: what was not synced survives as a random prefix, or as a prefix and zeros where pages were
    /// allocated and never written.
    pub(crate) fn crash(&self) {
        *self.life.lock().unwrap() += 1;
        for (name, file) in self.files.lock().unwrap().iter_mut() {
            if let Some(from) = file.poisoned.take() {
                let to = file.durable;
                if from < to && self.rng.permille(700) {
                    file.bytes[from..to].fill(0);
                }
            }
            let unsynced = file.bytes.len() - file.durable;
            let kept = file.durable + self.rng.below(unsynced as u64 + 1) as usize;
            if self.rng.permille(200) {
                file.bytes[kept..].fill(0);
            } else {
                file.bytes.truncate(kept);
            }
            let (now, durable) = (file.bytes.len(), file.durable);
            self.world.note(|| format!("crash {name}: {durable} durable, {kept} of {now} kept"));
            file.durable = file.bytes.len();
        }
    }
    /// kill -9: the kernel keeps what was written; only the life is over. Pages of a failed sync count as clean and may
    /// be dropped at any time: here they always are. (That they stay, look whole to the next life and are still not on
    /// the platter after its sync is not simulated: no program can tell.)
    pub(crate) fn kill(&self) {
        *self.life.lock().unwrap() += 1;
        for file in self.files.lock().unwrap().values_mut() {
            if let Some(from) = file.poisoned.take() {
                file.bytes.truncate(from);
                file.durable = file.durable.min(from);
            }
        }
    }
    /// What would surely be there after a power cut now, as a disk of its own.
    pub(crate) fn certain(&self) -> Arc<Self> {
        let sure = |file: &File| {
            let len = file.poisoned.map_or(file.durable, |p| p.min(file.durable));
            File { bytes: file.bytes[..len].to_vec(), durable: len, poisoned: None }
        };
        let files = self.files.lock().unwrap().iter().map(|(n, f)| (n.clone(), sure(f))).collect();
        self.still(files)
    }
    /// What would be read after a restart, as a disk of its own.
    pub(crate) fn copy(&self) -> Arc<Self> {
        self.still(self.files.lock().unwrap().clone())
    }
    fn still(&self, files: BTreeMap<String, File>) -> Arc<Self> {
        let (world, rng) = (self.world.clone(), Rng::new(0));
        let full_until_ms = AtomicU64::new(0);
        Arc::new(Self {
            files: Mutex::new(files),
            life: Mutex::new(0),
            full_until_ms,
            world,
            rng,
            still: true,
        })
    }
    /// Turns one bit; says where. `None`: there is none.
    pub(crate) fn flip(&self, rng: &Rng) -> Option<String> {
        let mut files = self.files.lock().unwrap();
        let all: u64 = files.values().map(|file| file.bytes.len() as u64).sum();
        let mut at = rng.below(all) as usize;
        for (name, file) in files.iter_mut() {
            if let Some(byte) = file.bytes.get_mut(at) {
                *byte ^= 1 << rng.below(8);
                return Some(format!("{name}, byte {at}"));
            }
            at -= file.bytes.len();
        }
        None
    }
    pub(crate) fn is_full(&self) -> bool {
        self.world.faulty(Kind::Disk) && self.world.ms() < self.full_until_ms.load(Ordering::Relaxed)
    }
    /// Is this text anywhere in a file?
    pub(crate) fn holds(&self, text: &str) -> Option<String> {
        let files = self.files.lock().unwrap();
        let found = files.iter().find(|(_, f)| String::from_utf8_lossy(&f.bytes).contains(text));
        found.map(|(name, _)| name.clone())
    }
}

impl SimDisk {
    /// Lets time pass, then says whether this life still has a disk.
    async fn takes(&self, usual: u64, at_most: u64) -> io::Result<()> {
        let rng = &self.platter.rng;
        if self.platter.still {
            return Ok(());
        }
        let world = &self.platter.world;
        let ms = match () {
            () if world.strikes(Kind::Disk, rng, 1) => rng.below(15_000),
            () if world.strikes(Kind::Disk, rng, 20) => rng.below(at_most),
            () => rng.below(usual),
        };
        if ms > 0 {
            sleep(Duration::from_millis(ms)).await;
        } else {
            tokio::task::yield_now().await;
        }
        self.alive()
    }
    fn alive(&self) -> io::Result<()> {
        if *self.platter.life.lock().unwrap() == self.life {
            return Ok(());
        }
        self.platter.world.violated("a task of an earlier life still writes to the data folder".to_owned());
        Err(io::Error::other("this life is over"))
    }
    fn fault(&self, what: &str, permille: u64) -> io::Result<()> {
        let Platter { world, rng, still, .. } = &*self.platter;
        if *still || !world.strikes(Kind::Disk, rng, permille) {
            return Ok(());
        }
        if rng.permille(100) {
            let ms = rng.below(30_000);
            world.note(|| format!("the disk is full for {ms} ms"));
            self.platter.full_until_ms.store(world.ms() + ms, Ordering::Relaxed);
        }
        let kind = if rng.permille(500) { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
        world.note(|| format!("{what} fails: {kind}"));
        Err(io::Error::new(kind, format!("simulated: {what}")))
    }
    fn with<T>(&self, name: &str, act: impl FnOnce(&mut File) -> T) -> io::Result<T> {
        let mut files = self.platter.files.lock().unwrap();
        files.get_mut(name).map(act).ok_or_else(|| missing(name))
    }
}

#[async_trait]
impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.platter.files.lock().unwrap().keys().cloned().collect())
    }
    fn len(&self, name: &str) -> io::Result<u64> {
        self.with(name, |file| file.bytes.len() as u64)
    }
    fn read(&self, name: &str, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let range = offset as usize..offset as usize + len;
        self.with(name, |file| file.bytes.get(range).map(<[u8]>::to_vec))?
            .ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, format!("{name} is shorter")))
    }
    async fn create(&self, name: &str) -> io::Result<()> {
        self.takes(2, 50).await?;
        self.fault("create", 5)?;
        self.platter.files.lock().unwrap().insert(name.to_owned(), File::default());
        Ok(())
    }
    async fn append(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        self.takes(1, 20).await?;
        let full = if self.platter.is_full() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) };
        if let Err(error) = full.and_then(|()| self.fault("append", 4)) {
            // a full disk takes what still fits
            let fits = self.platter.rng.below(bytes.len() as u64 + 1) as usize;
            self.with(name, |file| file.bytes.extend_from_slice(&bytes[..fits]))?;
            return Err(error);
        }
        self.with(name, |file| file.bytes.extend_from_slice(&bytes))
    }
    async fn sync(&self, name: &str) -> io::Result<()> {
        let asked = self.with(name, |file| file.bytes.len())?;
        self.takes(5, 400).await?;
        if let Err(error) = self.fault("sync", 4) {
            self.with(name, |file| {
                let from = file.durable;
                file.poisoned = Some(file.poisoned.map_or(from, |p| p.min(from)));
            })?;
            return Err(error);
        }
        self.with(name, |file| file.durable = file.durable.max(asked.min(file.bytes.len())))
    }
    async fn truncate(&self, name: &str, len: u64) -> io::Result<()> {
        self.takes(3, 100).await?;
        self.fault("truncate", 5)?;
        self.with(name, |file| {
            let len = len as usize;
            file.bytes.truncate(len);
            file.durable = file.durable.min(len);
            file.poisoned = file.poisoned.filter(|from| *from < len);
        })
    }
    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.takes(3, 100).await?;
        self.fault("rename", 5)?;
        let mut files = self.platter.files.lock().unwrap();
        let file = files.remove(from).ok_or_else(|| missing(from))?;
        files.insert(to.to_owned(), file);
        Ok(())
    }
    async fn remove(&self, name: &str) -> io::Result<()> {
        self.takes(3, 100).await?;
        self.fault("remove", 5)?;
        self.platter.files.lock().unwrap().remove(name).map(drop).ok_or_else(|| missing(name))
    }
    fn free_bytes(&self) -> io::Result<u64> {
        Ok(if self.platter.is_full() { 0 } else { 1 << 40 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    fn durable(platter: &Platter) -> Vec<u8> {
        platter.files.lock().unwrap()["a"].bytes.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_was_synced_is_sure_to_survive() {
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..60 {
            let world = World::new(&Plan::whole(seed), false);
            world.faults_off();
            let platter = Platter::new(&world);
            let disk = platter.mount();
            disk.create("a").await.unwrap();
            disk.append("a", b"sure".to_vec()).await.unwrap();
            disk.sync("a").await.unwrap();
            disk.append("a", b"perhaps".to_vec()).await.unwrap();
            assert_eq!(durable(&platter.certain()), b"sure");
            platter.crash();
            let left = durable(&platter);
            assert!(left.starts_with(b"sure") && left.len() <= 11, "{left:?}");
            lengths.insert(left.len());
        }
        assert!(lengths.len() > 4, "every prefix can survive: {lengths:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_of_a_failed_sync_are_not_trusted_by_a_later_one() {
        let world = World::new(&Plan::whole(1), false);
        world.faults_off();
        let platter = Platter::new(&world);
        let disk = platter.mount();
        disk.create("a").await.unwrap();
        disk.append("a", b"lost".to_vec()).await.unwrap();
        disk.with("a", |file| file.poisoned = Some(0)).unwrap();
        disk.sync("a").await.unwrap();
        assert_eq!(durable(&platter.certain()), b"");
        disk.truncate("a", 0).await.unwrap();
        disk.append("a", b"kept".to_vec()).await.unwrap();
        disk.sync("a").await.unwrap();
        assert_eq!(durable(&platter.certain()), b"kept");
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_life_has_no_disk() {
        let world = World::new(&Plan::whole(1), false);
        let platter = Platter::new(&world);
        let disk = platter.mount();
        platter.crash();
        assert!(disk.append("a", Vec::new()).await.is_err());
        assert!(!world.wrong().is_empty());
    }
}
