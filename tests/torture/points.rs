//! A crash at each named point: `fault::crash_point("stage.what")` in the source, read from there by text search. The sidecar
//! is started so that it aborts there (at the first, second or third time), under load that leads it there, then started again;
//! at the end nothing may be missing.
use crate::kills::{BRISK, no_panic, number, seed};
use crate::world::{TENANTS, Workers, World, engine};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tailhook_demo::random::Random;
use tokio::time::{Instant, sleep};

/// How the sidecar is led to a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By load.
    Load,
    /// By load, once a connection: the server ends it for each further time.
    Connection,
    /// By the first start in an empty folder, without a key.
    Key,
    /// By the first start in an empty folder.
    First,
    /// By the start after an interrupted first start.
    Refill,
    /// By a dropped slot whose gap is accepted.
    Gap,
    /// By a torn tail of the journal.
    Torn,
    /// By an index that is to be rebuilt.
    Rebuild,
    /// By a mapping that remembers more.
    Again,
    /// By a table that was out of the publication.
    Table,
    /// By a start.
    Start,
    /// By SIGTERM.
    Stop,
    /// By a position that moves on while nothing is committed.
    Idle,
    /// By a transaction that is too large for one frame.
    Bulk,
}

impl Way {
    fn to(point: &str) -> Self {
        match point {
            "capture.idle-position" => return Self::Idle,
            "capture.surveyed" | "capture.before-start" | "capture.started" => return Self::Connection,
            "capture.frame-durable" if number("HITS", 1) > 1 => return Self::Bulk,
            _ => {}
        }
        match point.split('.').next().unwrap() {
            "key" => Self::Key,
            "first" => Self::First,
            "refill" => Self::Refill,
            "gap" => Self::Gap,
            "torn" => Self::Torn,
            "rebuild" => Self::Rebuild,
            "again" => Self::Again,
            "table" => Self::Table,
            "start" => Self::Start,
            "stop" => Self::Stop,
            _ => Self::Load,
        }
    }
    /// What leads there happens once in a life.
    fn is_once(self) -> bool {
        !matches!(self, Self::Load | Self::Connection | Self::Idle | Self::Bulk)
    }
}

/// All names, in the order of the files.
fn points() -> Vec<String> {
    fn read(folder: &Path, found: &mut Vec<String>) {
        let mut entries: Vec<PathBuf> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                read(&path, found);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                let calls = text.split("crash_point(\"").skip(1);
                found.extend(calls.map(|call| call.split('"').next().unwrap().to_owned()));
            }
        }
    }
    let mut found = Vec::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    // of the engines of the index one is at work, and sled tidies nothing
    let sled = engine() == "sled";
    found.retain(|point| if sled { point != "index.compacted" } else { !point.starts_with("sled.") });
    found
}

struct Points {
    world: World,
    workers: Workers,
    random: Random,
    /// Which spare column the mapping remembers.
    spare: bool,
    /// How often the table was out of the publication.
    lapses: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_at_any_crash_point() {
    let (seed, hits, most) = (seed(), number("HITS", 1), number("POINTS", 24) as usize);
    let all = points();
    let mut seen = BTreeMap::new();
    for name in &all {
        *seen.entry(name).or_insert(0) += 1;
    }
    assert!(all.len() >= 40 && seen.values().all(|count| *count == 1), "{seen:?}");
    let mut random = Random::new(seed);
    let mut chosen = all.clone();
    while chosen.len() > most {
        chosen.remove(random.below(chosen.len()));
    }
    if let Ok(named) = std::env::var("POINT") {
        chosen = all.iter().filter(|name| name.starts_with(&named)).cloned().collect();
    }
    println!("SEED={seed}: {} of {} points, hits 1 to {hits}", chosen.len(), all.len());
    let mut world = World::before_the_first_start(seed, "").await;
    world.rig.environment.extend(BRISK.map(|(name, value)| (name, value.to_owned())));
    for point in chosen.iter().filter(|point| Way::to(point) == Way::Key) {
        arm(&mut world, point, 1);
        world.rig.start(&[]);
        assert!(reached(&mut world, point, None).await, "{point} was not reached");
        disarm(&mut world);
    }
    world.begin().await;
    let workers = Workers::start(&world, seed, 4, Duration::from_millis(10)).await.with_client(&world).await;
    let mut points = Points { world, workers, random, spare: false, lapses: 0 };
    let mut not_again = Vec::new();
    let mut crashes = 0;
    for point in chosen.iter().filter(|point| Way::to(point) != Way::Key) {
        for hit in 1..=hits {
            let began = Instant::now();
            if points.crash(point, hit).await {
                crashes += 1;
                println!("{point}:{hit} crashed and came back ({:.1} s)", began.elapsed().as_secs_f64());
            } else {
                let once = hit > 1 && Way::to(point).is_once();
                assert!(once, "{point}:{hit} was not reached\n{}", points.world.rig.log());
                not_again.push(format!("{point}:{hit}"));
                break;
            }
        }
    }
    let changes = points.workers.stop().await;
    points.world.settle().await;
    let verdict = points.world.verdict().await;
    println!("crashes               {crashes:>9}\ncommitted changes     {changes:>9}\n{verdict}");
    println!("not reached again in one life: {}", not_again.join(", "));
    assert!(verdict.is_fine(), "SEED={seed}\n{verdict}");
    no_panic(&points.world.rig);
}

impl Points {
    /// The sidecar streams before and after; false: it did not come there so often.
    async fn crash(&mut self, point: &str, hit: u64) -> bool {
        let way = Way::to(point);
        let mut arguments = Vec::new();
        let mut resting = None;
        // nothing is committed that a gap would swallow
        if matches!(way, Way::First | Way::Refill | Way::Gap | Way::Idle | Way::Bulk | Way::Table) {
            resting = Some(self.workers.rest().await);
            self.world.settle().await;
        }
        self.world.rig.kill();
        match way {
            Way::First => self.forget().await,
            Way::Refill => {
                self.forget().await;
                arm(&mut self.world, "first.slot", 1);
                self.world.rig.start(&[]);
                assert!(reached(&mut self.world, "first.slot", None).await);
                disarm(&mut self.world);
            }
            Way::Gap => arguments.push(self.gap().await),
            Way::Torn => self.tear(),
            Way::Rebuild => fs::write(self.data().join("rebuild-index"), "").unwrap(),
            Way::Again => self.remember_more(),
            _ => {}
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arm(&mut self.world, point, hit);
        self.world.rig.start(&arguments);
        let reached = self.lead(point, way, hit).await;
        disarm(&mut self.world);
        if !reached && !self.world.rig.has_ended() {
            self.world.rig.kill();
        }
        self.world.rig.start(&arguments);
        self.world.rig.ready().await;
        if way == Way::Table {
            self.lapses += 1;
            while self.world.rig.log().matches("gap ended: public.orders").count() < self.lapses {
                sleep(Duration::from_millis(20)).await;
            }
        }
        drop(resting);
        // the next crash comes at some moment of this life
        sleep(Duration::from_millis(self.random.below(200) as u64)).await;
        reached
    }

    /// Does what leads there until it has crashed, or cannot come there any more.
    async fn lead(&mut self, point: &str, way: Way, hit: u64) -> bool {
        let erp = self.world.rig.another().await;
        match way {
            Way::Stop => {
                // what crashes before it streams has not come here
                self.world.rig.ready().await;
                self.world.rig.terminate();
            }
            Way::Bulk => {
                self.world.rig.ready().await;
                let rows = format!(
                    "INSERT INTO orders (id, tenant_id) SELECT gen_random_uuid(), '{}' FROM generate_series(1, 5200)",
                    TENANTS[0]
                );
                erp.run(&rows).await.unwrap();
            }
            Way::Table => {
                self.world.rig.ready().await;
                erp.run(LAPSE).await.unwrap();
            }
            _ => {}
        }
        let again: Option<&str> = match way {
            Way::Idle => Some("INSERT INTO noise VALUES (1)"),
            Way::Connection => Some(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'tailhook'",
            ),
            _ => None,
        };
        let began = Instant::now();
        let is_once = way.is_once() && hit > 1;
        loop {
            if let Some(sql) = again {
                erp.run(sql).await.unwrap();
            }
            if reached(&mut self.world, point, Some(Duration::from_millis(300))).await {
                return true;
            }
            let gone = self.world.rig.has_ended();
            if gone || is_once && began.elapsed() > Duration::from_secs(4) || began.elapsed() > PATIENCE {
                return false;
            }
        }
    }

    fn data(&self) -> PathBuf {
        self.world.rig.folder.path().join("data")
    }
    /// As if it had never run. Everything has been delivered, and nothing is committed meanwhile.
    async fn forget(&self) {
        fs::remove_dir_all(self.data()).unwrap();
        self.drop_slot().await;
    }
    async fn drop_slot(&self) {
        let free = "SELECT count(pg_drop_replication_slot(slot_name)) = 1 FROM pg_replication_slots WHERE NOT active";
        // the server notices a killed client a moment later
        while !self.world.rig.erp.client().query_one(free, &[]).await.unwrap().get::<_, bool>(0) {
            sleep(Duration::from_millis(10)).await;
        }
    }
    /// Loses the slot; gives the argument that accepts the gap.
    async fn gap(&mut self) -> String {
        self.drop_slot().await;
        let before = self.world.rig.log().len();
        self.world.rig.start(&[]);
        let range = loop {
            let log = self.world.rig.log();
            if let Some((_, rest)) = log[before..].split_once("--accept-gap=") {
                break rest.split('`').next().unwrap().to_owned();
            }
            sleep(Duration::from_millis(20)).await;
        };
        self.world.rig.kill();
        format!("--accept-gap={range}")
    }
    /// As a kill in the middle of a write would.
    fn tear(&mut self) {
        let mut segments: Vec<PathBuf> =
            fs::read_dir(self.data()).unwrap().map(|e| e.unwrap().path()).collect();
        segments.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("journal-"));
        let newest = segments.into_iter().max().unwrap();
        let torn: Vec<u8> = (0..=self.random.below(50)).map(|_| self.random.number() as u8).collect();
        fs::File::options().append(true).open(newest).unwrap().write_all(&torn).unwrap();
    }
    /// A rule that needs a column which was not remembered before; nothing ever changes in it.
    fn remember_more(&mut self) {
        self.spare = !self.spare;
        let column = if self.spare { "spare_a" } else { "spare_b" };
        let rule = format!(
            "# spare\n[[event]]\nname = \"order.spared\"\ntable = \"public.orders\"\non = \"update\"\n\
             tenant = \"tenant_id\"\nchanged = [\"{column}\"]\n"
        );
        self.world.rig.edit(|file| format!("{}{rule}", file.split("# spare").next().unwrap()));
    }
}

/// The table leaves the publication and comes back.
const LAPSE: &str = "BEGIN; ALTER PUBLICATION tailhook DROP TABLE orders; ALTER PUBLICATION tailhook ADD TABLE ONLY orders; COMMIT";

/// Far beyond what any point takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn arm(world: &mut World, point: &str, hit: u64) {
    world.rig.environment.push(("TAILHOOK_CRASH_AT", format!("{point}:{hit}")));
}
fn disarm(world: &mut World) {
    world.rig.environment.pop();
}

/// Waits until it has ended, at most so long; true if it ended there.
async fn reached(world: &mut World, point: &str, most: Option<Duration>) -> bool {
    let began = Instant::now();
    while !world.rig.has_ended() {
        if began.elapsed() > most.unwrap_or(PATIENCE) {
            return false;
        }
        sleep(Duration::from_millis(5)).await;
    }
    // other threads may have a last word after it
    world.rig.log().contains(&format!("crash point {point} reached by process {}: abort", world.rig.pid()))
}
