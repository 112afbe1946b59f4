//! Purpose: `tailhook store verify` prints what `store::verify` found; `tailhook store rebuild` makes the index anew.
//! Must not: judge what was found, or change a folder that a sidecar has open.
use super::progress::ProgressLine;
use super::{ConfigSource, block_on, say};
use crate::app;
use crate::clock::{Clock, SystemClock};
use crate::disk::RealDisk;
use crate::store::inspect::verify::{FolderFinding, Loss, Part};
use crate::store::{self, Engine, Rebuilt, Report, index::engine};
use anyhow::{Context, bail};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use tokio::time::Instant;

/// Checks, salvages and rebuilds parts of the data folder; the sidecar must be stopped
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StoreArguments {
    #[command(subcommand)]
    command: StoreCommand,
}

const EXAMPLES: &str = "\
Examples:
  tailhook store verify
  tailhook store verify --config /etc/tailhook/tailhook.toml --json | jq .
  tailhook store verify --salvage
  tailhook store rebuild                        make the index anew from the journal";

#[derive(Debug, clap::Subcommand)]
enum StoreCommand {
    Verify(Verify),
    Rebuild(Rebuild),
}

/// Reads every frame, checkpoint and delivery; exits with 1 if anything is damaged or was written by a newer version
///
/// Nothing is changed, except that the index's engine may tidy its own files.
///
/// With --salvage a damaged journal becomes one that opens. Good frames stay. Damaged files are kept beside it as
/// salvage-<time>-…. The index is made anew. Events of lost frames are lost. `run` then reports a gap that begins before
/// them, and streams nothing until --accept-gap.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct Verify {
    /// Makes a damaged journal open again, and says what is lost
    #[arg(long)]
    salvage: bool,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

/// Makes the index anew from the newest checkpoint and the journal; shows its progress on standard error
///
/// `run` does the same by itself when the index is missing, damaged or of the other engine (`store.index`). By hand it can be
/// done while nothing else waits for it. Nothing is lost by it. Stopped half-way it is begun again by the next start.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct Rebuild {
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn main(arguments: &StoreArguments, source: &ConfigSource) -> anyhow::Result<()> {
    let config = source.load()?;
    let (folder, engine) = (config.data_folder.clone(), app::engine(&config));
    let place = || format!("store.path = \"{}\"", folder.display());
    if !folder.is_dir() {
        bail!("{} is no folder: nothing was ever stored there", place());
    }
    let disk = RealDisk::open(&folder).with_context(place)?;
    match &arguments.command {
        StoreCommand::Verify(arguments) => verify(arguments, &disk, &folder, engine),
        StoreCommand::Rebuild(arguments) => rebuild(arguments, disk, &folder, engine).with_context(place),
    }
}

/// The index before is kept beside the new one, unless it was of the other engine.
fn rebuild(arguments: &Rebuild, disk: RealDisk, folder: &Path, engine: Engine) -> anyhow::Result<()> {
    let began = Instant::now();
    let progress = ProgressLine::new("journal read");
    let index = folder.join("index");
    let factory = engine.factory(index.clone(), engine::memory_bytes());
    let tell = Box::new(move |done, all| progress.tell(done, all));
    let done =
        block_on(async { Ok(store::rebuild(Arc::new(disk), factory, Arc::new(SystemClock), tell).await?) })?;
    let Some(Rebuilt { frames, journal_bytes, pending, index_bytes }) = done else {
        bail!("there is no journal to rebuild an index from");
    };
    let seconds = began.elapsed().as_secs_f64();
    let aside = folder.join("index.bad");
    let aside = aside.is_dir().then(|| aside.display().to_string());
    if arguments.json {
        let object = json!({"engine": engine.as_str(), "frames": frames, "journal_bytes": journal_bytes, "pending": pending,
            "index_bytes": index_bytes, "seconds": seconds, "aside": aside});
        return Ok(say(&object.to_string())?);
    }
    say(&format!(
        "rebuilt {} ({}): {frames} frames, {journal_bytes} bytes of journal, {pending} deliveries pending; \
         {index_bytes} bytes; {seconds:.1} s",
        index.display(),
        engine.as_str()
    ))?;
    if let Some(aside) = aside {
        say(&format!("the index before is kept in {aside}; it may be removed"))?;
    }
    Ok(())
}

fn verify(verify: &Verify, disk: &RealDisk, folder: &Path, engine: Engine) -> anyhow::Result<()> {
    let place = || format!("store.path = \"{}\"", folder.display());
    let report = look(disk, folder, engine).with_context(place)?;
    let salvaged = if verify.salvage && !report.is_fine() {
        let stamp = (SystemClock.now_ms() / 1000).to_string();
        let done = block_on(async { Ok(store::salvage(disk, &report, &stamp).await?) });
        Some(done.context("not salvaged")?)
    } else {
        None
    };
    if verify.json {
        say(&as_json(&report, salvaged.as_ref()))?;
    } else {
        as_text(&report, salvaged.as_ref()).iter().try_for_each(|line| say(line))?;
    }
    if !report.is_fine() && salvaged.is_none() {
        let damages = report.findings.iter().filter(|finding| finding.damage).count();
        bail!("{}: {damages} damaged places", folder.display());
    }
    Ok(())
}

fn look(disk: &RealDisk, folder: &Path, engine: Engine) -> Result<Report, store::StoreError> {
    // before the index is opened: its engine may tidy its files
    store::check_formats(disk)?;
    let folder = folder.join("index");
    let index = if folder.is_dir() {
        engine.open(&folder, engine::memory_bytes()).map_err(|error| error.to_string())
    } else {
        Err("it is missing".to_owned())
    };
    store::verify(disk, index.as_ref().map(AsRef::as_ref).map_err(String::as_str))
}

fn as_text(report: &Report, salvaged: Option<&store::Salvaged>) -> Vec<String> {
    let mut lines: Vec<String> = report
        .parts
        .iter()
        .map(|Part { file, bytes, holds }| format!("{file:<26} {bytes:>11} bytes  {holds}"))
        .collect();
    for FolderFinding { damage, file, byte, what, remedy } in &report.findings {
        let word = if *damage { "damage" } else { "note" };
        let byte = byte.map(|byte| format!(", byte {byte}")).unwrap_or_default();
        lines.push(format!("{word:<8} {file}{byte}: {what}\n         {remedy}"));
    }
    for loss in &report.losses {
        lines.push(format!("lost     {}", range(loss)));
        for (key, status) in &loss.deliveries {
            lines.push(format!(
                "         delivery {} of tenant {}, {}",
                key.id,
                key.tenant.as_str(),
                status.as_str()
            ));
        }
    }
    if !report.losses.is_empty() {
        lines.push("         outcomes that stood there are forgotten: such deliveries are sent again, with the same id".to_owned());
    }
    match salvaged {
        Some(done) => {
            for (file, kept) in &done.kept {
                lines.push(format!("salvaged {file}; as it was: {kept}"));
            }
            if let Some(position) = done.position.filter(|_| !report.losses.is_empty()) {
                lines.push(format!(
                    "salvaged the position is {position} again: `tailhook run` will report a gap from there"
                ));
            }
            lines.push("salvaged the index will be made anew by `tailhook run`".to_owned());
        }
        None if report.is_fine() => lines.push("fine".to_owned()),
        None => {}
    }
    lines
}

fn range(loss: &Loss) -> String {
    let (from, to) = loss.frames;
    let frames = if from == to { format!("frame {from}") } else { format!("frames {from} to {to}") };
    let after = loss.after.map_or("the beginning".to_owned(), |lsn| lsn.to_string());
    let until = loss.until.map_or("the end".to_owned(), |lsn| lsn.to_string());
    format!("{frames}: events of transactions after {after}, up to {until}, and whatever else stood there")
}

fn as_json(report: &Report, salvaged: Option<&store::Salvaged>) -> String {
    let lsn = |lsn: Option<crate::domain::Lsn>| lsn.map(|lsn| lsn.to_string());
    let parts = report.parts.iter().map(|p| json!({"file": p.file, "bytes": p.bytes, "holds": p.holds}));
    let findings = report.findings.iter().map(
        |f| json!({"damage": f.damage, "file": f.file, "byte": f.byte, "what": f.what, "remedy": f.remedy}),
    );
    let losses = report.losses.iter().map(|l| {
        let deliveries = l.deliveries.iter().map(
            |(key, status)| json!({"id": key.id.to_string(), "tenant": key.tenant.as_str(), "status": status.as_str()}),
        );
        json!({"file": l.file, "byte": l.byte, "bytes": l.bytes, "first_frame": l.frames.0, "last_frame": l.frames.1,
            "after": lsn(l.after), "until": lsn(l.until), "deliveries": deliveries.collect::<Vec<_>>()})
    });
    let salvaged = salvaged.map(|done| {
        let kept = done.kept.iter().map(|(file, kept)| json!({"file": file, "kept": kept}));
        json!({"position": lsn(done.position), "kept": kept.collect::<Vec<_>>()})
    });
    json!({
        "fine": report.is_fine(),
        "parts": parts.collect::<Vec<_>>(),
        "findings": findings.collect::<Vec<_>>(),
        "losses": losses.collect::<Vec<_>>(),
        "salvaged": salvaged,
    })
    .to_string()
}
