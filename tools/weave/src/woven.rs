//! Which change is asked for: `WOVEN`. With `WOVEN_TRACE` the numbers of those that are come by are added to that file.
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};

struct Asked {
    number: u32,
    trace: Option<Mutex<(BTreeSet<u32>, File)>>,
}

fn asked() -> Asked {
    let number = std::env::var("WOVEN").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let open = |path| OpenOptions::new().create(true).append(true).open(path).ok();
    let trace = std::env::var_os("WOVEN_TRACE").and_then(open).map(|file| Mutex::new((BTreeSet::new(), file)));
    Asked { number, trace }
}

/// Is it this one?
pub fn is(number: u32) -> bool {
    static ASKED: OnceLock<Asked> = OnceLock::new();
    let asked = ASKED.get_or_init(asked);
    if let Some(trace) = &asked.trace {
        let mut trace = trace.lock().unwrap_or_else(PoisonError::into_inner);
        if trace.0.insert(number) {
            let _ = writeln!(trace.1, "{number}");
        }
    }
    asked.number == number
}
