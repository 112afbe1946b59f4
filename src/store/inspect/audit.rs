//! The index against the journal: is it this journal's, does every delivery find its event, is what is pending counted right?
//! Reads; changes nothing.
use crate::disk::Disk;
use crate::domain::Status;
use crate::store::engine::catch_up::REBUILD;
use crate::store::engine::reading::checked_event;
use crate::store::index::keys;
use crate::store::index::{Index, IndexError};
use crate::store::inspect::verify::{Loss, Part, Walked};
use crate::store::log::segment;
use crate::store::records::entry::Entry;
use crate::store::state::Applied;

const FILE: &str = "index";
const SCAN: usize = 1000;
/// More of one kind are counted, not listed.
const LISTED: usize = 20;
const REBUILT: &str = "nothing: `tailhook run` makes it anew from the journal";
const DELETE: &str = "delete the folder `index`: `tailhook run` makes it anew from the journal";

/// Up to which frame an index says it is complete.
pub(in crate::store) fn applied(index: &dyn Index) -> Option<Applied> {
    Applied::decode(&index.get(keys::APPLIED).ok()??).ok().filter(|applied| !applied.partial)
}

#[derive(Debug, Default)]
struct Counts {
    deliveries: u64,
    pending: u64,
    waiting: u64,
    faults: usize,
}

/// Adds what there is to say of the index.
pub(in crate::store) fn index(disk: &dyn Disk, index: Result<&dyn Index, &str>, walked: &mut Walked) {
    if disk.len(REBUILD).is_ok() {
        return note(walked, "it failed while it was in use, or the journal was salvaged");
    }
    let (index, applied) = match index.map(|index| (index, applied(index))) {
        Err(why) => return note(walked, why),
        Ok((_, None)) => return note(walked, "it is empty"),
        Ok((index, Some(applied))) => (index, applied),
    };
    let oldest = walked.segments.keys().next().copied().unwrap_or(1);
    if applied.frame + 1 < oldest {
        return note(walked, "it is further behind than the journal reaches back");
    }
    if applied.frame >= walked.next.max(1) {
        return note(walked, "it is ahead of the journal");
    }
    let lost = walked.report.losses.iter().any(|l| (l.frames.0..=l.frames.1).contains(&applied.frame));
    if applied.frame >= oldest && !lost && walked.crc != Some(applied.crc) {
        return note(walked, "it belongs to another journal");
    }
    let counts = match count(disk, index, walked) {
        Ok(counts) => counts,
        Err(error) => {
            walked.report.find(true, (FILE, None), error.to_string(), DELETE);
            return;
        }
    };
    if counts.pending != applied.pending || counts.waiting != applied.pending {
        let Counts { pending, waiting, .. } = counts;
        let what =
            format!("it counts {} pending, holds {pending} and {waiting} places in line", applied.pending);
        walked.report.find(true, (FILE, None), what, DELETE);
    }
    if counts.faults > LISTED {
        let what = format!("{} more deliveries are not as they were written", counts.faults - LISTED);
        walked.report.find(true, (FILE, None), what, DELETE);
    }
    let behind = walked.next.saturating_sub(1).saturating_sub(applied.frame);
    let holds = format!(
        "{} deliveries, {} pending, up to frame {}, {behind} frames behind the journal",
        counts.deliveries, counts.pending, applied.frame
    );
    walked.report.parts.push(Part { file: FILE.to_owned(), bytes: index.size(), holds });
}

fn note(walked: &mut Walked, why: &str) {
    walked.report.find(false, (FILE, None), format!("it cannot be used: {why}"), REBUILT);
}

/// Looks at every delivery; what stood in lost bytes is put down there.
fn count(disk: &dyn Disk, index: &dyn Index, walked: &mut Walked) -> Result<Counts, IndexError> {
    let mut counts = Counts::default();
    pages(index, (b"p", b"q"), &mut |_, _| {
        counts.waiting += 1;
        Ok(())
    })?;
    pages(index, (b"d", b"e"), &mut |_, value| {
        let entry = Entry::decode(value)
            .map_err(|e| IndexError::Broken(format!("a delivery is not readable: {e}")))?;
        counts.deliveries += 1;
        let is_pending = entry.delivery.status == Status::Pending;
        counts.pending += u64::from(is_pending);
        counts.faults += usize::from(!delivery(disk, &entry, walked, counts.faults < LISTED));
        Ok(())
    })?;
    Ok(counts)
}

/// Is its event what was written? If not, it is told (`loud`). What stood in a loss is put down there.
fn delivery(disk: &dyn Disk, entry: &Entry, walked: &mut Walked, loud: bool) -> bool {
    let (at, d) = (entry.event_at, &entry.delivery);
    let name = segment::name(at.segment);
    let file_is_there = walked.segments.contains_key(&at.segment);
    if d.status.is_final() && walked.segments.keys().next().is_some_and(|oldest| at.segment < *oldest) {
        // retention has taken both; a kill has brought back what was not durable in the index yet
        return true;
    }
    let before_all = walked.missing.map(|(from, _)| from).filter(|from| at.segment < *from);
    let stood = |l: &&mut Loss| {
        let inside = l.file == name && (l.byte..l.byte + l.bytes).contains(&at.offset);
        let frames = l.frames.0..=l.frames.1;
        inside || !file_is_there && (frames.contains(&at.segment) || before_all == Some(l.frames.0))
    };
    if let Some(loss) = walked.report.losses.iter_mut().find(stood) {
        loss.deliveries.push((d.key.clone(), d.status));
        return true;
    }
    let bytes = disk.read(&name, at.offset, at.len as usize).unwrap_or_default();
    if checked_event(&bytes, at, d.event_id).is_some() {
        return true;
    }
    if loud {
        let what = format!("delivery {} ({}) does not find its event there", d.key.id, d.status.as_str());
        walked.report.find(true, (&name, Some(at.offset)), what, DELETE);
    }
    false
}

type AuditLook<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), IndexError>;

fn pages(index: &dyn Index, (from, to): (&[u8], &[u8]), look: AuditLook<'_>) -> Result<(), IndexError> {
    let mut from = from.to_vec();
    loop {
        let page = index.scan(&from, to, SCAN)?;
        for (key, value) in &page {
            look(key, value)?;
        }
        match page.last() {
            Some((key, _)) if page.len() == SCAN => from = keys::successor(key),
            _ => return Ok(()),
        }
    }
}
