//! The power goes at a moment of a recording: which folders may be left. Knows calls and pages, no frames.
//!
//! Sure is only what a completed fdatasync covered. Of anything else each page may be there or not, in any order; files may have
//! any length between; a call that had not returned may have happened or not. Of the index nothing is sure at all.
use super::record::{Act, Moment, PAGE, Pages};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use tailhook::store::{Engine, Record};
use tailhook_demo::random::Random;

#[derive(Debug, Clone, Default)]
struct Inode {
    sure: Vec<u8>,
    cached: Vec<u8>,
}

/// What was so at the moment of the cut.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) engine: Engine,
    files: BTreeMap<String, Inode>,
    /// Calls that had not returned, and what the file held when they began.
    in_flight: BTreeMap<u64, (Act, usize)>,
    /// Asked for, in order.
    pub(crate) commits: Vec<Arc<[Record]>>,
    /// So many of them, the first ones, are promised.
    pub(crate) confirmed: usize,
    pub(crate) now_us: i64,
    pub(crate) lives: usize,
}

impl Cut {
    pub(crate) fn after(engine: Engine, moments: &[Moment], now_us: i64) -> Self {
        let mut cut = Self {
            engine,
            now_us,
            files: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            commits: Vec::new(),
            confirmed: 0,
            lives: 0,
        };
        for moment in moments {
            match moment {
                Moment::Began(number, act) => cut.begin(*number, act),
                Moment::Ended(number) => cut.end(*number),
                Moment::Index(_) => {}
                Moment::Called(records) => cut.commits.push(records.clone()),
                Moment::Confirmed(number) => cut.confirmed = cut.confirmed.max(number + 1),
                Moment::Reopened(survived) => {
                    cut.commits.truncate(*survived);
                    cut.lives += 1;
                }
                Moment::Clock(now_us) => cut.now_us = *now_us,
            }
        }
        cut
    }

    fn begin(&mut self, number: u64, act: &Act) {
        if let Act::Append(name, bytes) | Act::Durable(name, bytes) = act {
            self.files.get_mut(name).unwrap().cached.extend_from_slice(bytes);
        }
        let len = match act {
            Act::Durable(name, _) | Act::Sync(name) => self.files[name].cached.len(),
            _ => 0,
        };
        self.in_flight.insert(number, (act.clone(), len));
    }

    fn end(&mut self, number: u64) {
        match self.in_flight.remove(&number).unwrap() {
            (Act::Durable(name, _) | Act::Sync(name), len) => {
                // whatever was written before it began
                let file = self.files.get_mut(&name).unwrap();
                file.sure = file.cached[..len.min(file.cached.len())].to_vec();
            }
            (act, _) => self.happen(&act),
        }
    }

    /// Calls that are durable when they return.
    fn happen(&mut self, act: &Act) {
        match act {
            Act::Create(name) => drop(self.files.insert(name.clone(), Inode::default())),
            Act::Truncate(name, len) => {
                let file = self.files.get_mut(name).unwrap();
                file.cached.truncate(*len as usize);
                file.sure = file.cached.clone();
            }
            Act::Rename(from, to) => {
                let file = self.files.remove(from).unwrap();
                self.files.insert(to.clone(), file);
            }
            Act::Remove(name) => drop(self.files.remove(name)),
            Act::Append(..) | Act::Durable(..) | Act::Sync(_) => {}
        }
    }

    /// Writes one of the folders that may be left. Gives how many unsynced bytes there were.
    pub(crate) fn leave(mut self, random: &mut Random, folder: &Path) -> (Self, usize) {
        for (act, _) in std::mem::take(&mut self.in_flight).into_values() {
            if random.percent(50) {
                self.happen(&act);
            }
        }
        fs::create_dir_all(folder).unwrap();
        let mut unsure = 0;
        for (name, file) in &self.files {
            unsure += file.cached.len() - file.sure.len();
            fs::write(folder.join(name), survives(file, random)).unwrap();
        }
        (self, unsure)
    }
}

/// A moment for a cut: mostly just after a call has begun.
pub(crate) fn moment(moments: &[Moment], random: &mut Random) -> usize {
    let mut at = 1 + random.below(moments.len());
    if random.percent(75) {
        while at < moments.len() && !matches!(moments[at - 1], Moment::Began(..)) {
            at += 1;
        }
    }
    let later = if random.percent(40) { random.below(4) } else { 0 };
    moments.len().min(at + later)
}

/// Some of a file's unsynced pages.
fn survives(file: &Inode, random: &mut Random) -> Vec<u8> {
    let (from, to) = (file.sure.len(), file.cached.len());
    let len = match random.below(4) {
        0 => to,
        1 => from,
        _ => from + random.below(to - from + 1),
    };
    let share = [0, 50, 90, 100][random.below(4)];
    let mut left = file.sure.clone();
    left.resize(len, 0);
    for page in from / PAGE..len.div_ceil(PAGE) {
        let range = (page * PAGE).max(from)..len.min((page + 1) * PAGE);
        if random.percent(share) && !range.is_empty() {
            left[range.clone()].copy_from_slice(&file.cached[range]);
        }
    }
    left
}

/// Leaves the index's folder in any state that it ever had or could have, or in none; gives its name. Of sled what is synced is
/// sure: a page that reverts after its sync can change an answer without an error, which lsm-tree notices.
pub(crate) fn leave_index(
    engine: Engine,
    moments: &[Moment],
    at: usize,
    random: &mut Random,
    folder: &Path,
) -> &'static str {
    let synced_is_sure = engine == Engine::Sled;
    let looks = |moments: &[Moment]| -> Vec<Arc<Pages>> {
        let index = |m: &Moment| if let Moment::Index(pages) = m { Some(pages.clone()) } else { None };
        moments.iter().filter_map(index).collect()
    };
    let (before, later) = (looks(&moments[..at]), looks(&moments[at..]));
    let last = before.last().cloned().unwrap_or_default();
    let earlier = random.pick(&before).cloned().unwrap_or_default();
    match random.below(10) {
        0 => {
            write(folder, &last, |_, _| {});
            "as it was written"
        }
        1 => {
            write(folder, &earlier, |_, _| {});
            "as it was earlier"
        }
        2 => {
            write(folder, &random.pick(&later).cloned().unwrap_or(last), |_, _| {});
            "as it was later"
        }
        3..9 if synced_is_sure => {
            write(folder, &last, |_, _| {});
            "as it was written"
        }
        3..7 => {
            let recent = &before[before.len().saturating_sub(1 + random.below(60))..];
            write(folder, &mixed(&last, recent, random), |_, _| {});
            "pages of several moments"
        }
        7 => {
            write(folder, &last, |_, bytes| bytes.truncate(random.below(bytes.len() + 1)));
            "torn"
        }
        8 => {
            write(folder, &last, |_, bytes| {
                for _ in 0..=random.below(40) {
                    let at = random.below(bytes.len());
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = random.number() as u8;
                    }
                }
            });
            "garbage in it"
        }
        _ if random.percent(50) => {
            write(folder, &last, |_, bytes| bytes.clear());
            "emptied"
        }
        _ => "missing",
    }
}

/// Each page as it was at one of the last moments, or never written.
fn mixed(last: &Pages, recent: &[Arc<Pages>], random: &mut Random) -> Pages {
    let share = [70, 95, 99][random.below(3)];
    let page = |name: &String, n: usize, page: &Arc<[u8]>, random: &mut Random| {
        if random.percent(share) {
            return page.clone();
        }
        let old = random.pick(recent).and_then(|pages| pages.get(name)?.get(n).cloned());
        old.filter(|_| random.percent(70)).unwrap_or_else(|| Arc::from(vec![0; page.len()]))
    };
    let mut left = Pages::new();
    for (name, pages) in last {
        let pages = pages.iter().enumerate().map(|(n, old)| page(name, n, old, random)).collect();
        left.insert(name.clone(), pages);
    }
    left
}

fn write(folder: &Path, pages: &Pages, mut damage: impl FnMut(&str, &mut Vec<u8>)) {
    fs::create_dir_all(folder).unwrap();
    for (name, pages) in pages {
        let mut bytes: Vec<u8> = pages.iter().flat_map(|page| page.iter().copied()).collect();
        damage(name, &mut bytes);
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}
