//! Reads every log line, of all levels: no clear secret and no header's value may be in one. Knows nothing but text.
use crate::erp::{CLEAR, HEADER};
use std::cell::{Cell, RefCell};
use std::io::{self, Write};
use std::sync::Once;

thread_local! {
    /// The first line of this thread's run with a secret in it.
    static LEAKED: RefCell<Option<String>> = const { RefCell::new(None) };
    /// This thread's lines are shown.
    static LOUD: Cell<bool> = const { Cell::new(false) };
}

struct Reader;

impl Write for Reader {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        if text.contains(CLEAR) || text.contains(HEADER) {
            LEAKED.with_borrow_mut(|leaked| leaked.get_or_insert_with(|| text.trim().to_owned()).len());
        }
        if LOUD.get() {
            eprint!("{text}");
        }
        Ok(line.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A run begins; a loud one shows what is logged.
pub(crate) fn begin(loud: bool) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let all = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
        all.without_time().with_ansi(false).with_writer(|| Reader).init();
    });
    LEAKED.set(None);
    LOUD.set(loud);
}

/// What leaked since.
pub(crate) fn found() -> Option<String> {
    LEAKED.take().map(|line| format!("a log line holds a clear secret or header: {line}"))
}

#[test]
fn a_secret_in_a_log_line_is_found() {
    begin(false);
    tracing::info!("of secret number {}", 7);
    assert_eq!(found(), None);
    tracing::warn!(secret = %format!("{CLEAR}1"), "signed");
    assert!(found().is_some());
    tracing::trace!("headers: {HEADER}1");
    assert!(found().is_some());
}
