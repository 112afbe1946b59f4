//! Which change is asked for: `WOVEN`. With `WOVEN_TRACE` the numbers of those that are come by are added to that file.
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// Numbers are below this.
const MOST: usize = 1 << 16;
static SEEN: [AtomicBool; MOST] = [const { AtomicBool::new(false) }; MOST];

struct Asked {
    number: u32,
    trace: Option<File>,
}

fn asked() -> Asked {
    let number = std::env::var("WOVEN").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let open = |path| OpenOptions::new().create(true).append(true).open(path).ok();
    Asked { number, trace: std::env::var_os("WOVEN_TRACE").and_then(open) }
}

/// Is it this one?
pub fn is(number: u32) -> bool {
    static ASKED: OnceLock<Asked> = OnceLock::new();
    let asked = ASKED.get_or_init(asked);
    if let Some(mut file) = asked.trace.as_ref()
        && !SEEN[number as usize % MOST].swap(true, Ordering::Relaxed)
    {
        let _ = writeln!(file, "{number}");
    }
    asked.number == number
}
