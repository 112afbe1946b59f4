//! Asks each change of a woven build whether a test notices it: first which tests come by it, then those alone, the quick ones first.
use crate::{Change, read};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// Tests that take this long together are asked at once; each further part may take four times as long.
const FIRST_PART: f64 = 0.1;

/// What came of the tests that were run with one change.
#[derive(PartialEq, Eq, Clone, Copy)]
enum End {
    Passed,
    Failed,
    Endless,
}

/// One binary with tests.
pub(crate) struct Runner<'a> {
    pub(crate) binary: PathBuf,
    /// Processor time that a part of the tests may take: a change may loop for ever, and a busy machine must not look so.
    pub(crate) seconds: u64,
    pub(crate) tree: &'a Path,
    /// Once a test has failed the others are stopped. Not where tests start servers, which nobody would stop then.
    pub(crate) hasty: bool,
}

impl Runner<'_> {
    /// One line a change: number, what came of it, seconds, name, the tests that say so.
    pub(crate) fn all(&self, changes: &[&Change], filters: &[&str]) {
        let tests = self.tests(filters);
        let mut costs = BTreeMap::new();
        let mut reached: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        for test in &tests {
            let (seconds, numbers) = self.reached(test);
            costs.insert(test.as_str(), seconds);
            numbers.iter().for_each(|number| reached.entry(*number).or_default().push(test));
        }
        for change in changes {
            let begun = Instant::now();
            let mut tests = reached.remove(&change.number).unwrap_or_default();
            tests.sort_by(|a, b| costs[a].total_cmp(&costs[b]));
            let (end, by) = if tests.is_empty() {
                ("missed", "no test comes by".to_owned())
            } else {
                self.ask(change.number, &tests, &costs)
            };
            let seconds = begun.elapsed().as_secs_f64();
            println!("{}\t{end}\t{seconds:.2}\t{}\t{by}", change.number, change.name);
        }
    }

    fn ask(&self, number: usize, mut tests: &[&str], costs: &BTreeMap<&str, f64>) -> (&'static str, String) {
        let mut part = FIRST_PART;
        while !tests.is_empty() {
            let mut sum = 0.0;
            let fits = |test: &&&str| {
                sum += costs[**test];
                sum <= part
            };
            let (now, later) = tests.split_at(tests.iter().take_while(fits).count().max(1));
            match self.test(number, now, None, self.seconds.min(1 + (6.0 * sum) as u64)) {
                (End::Failed, by) => return ("caught", by),
                (End::Endless, _) => return ("endless", now.first().copied().unwrap_or_default().to_owned()),
                (End::Passed, _) => {}
            }
            (tests, part) = (later, part * 4.0);
        }
        ("missed", String::new())
    }

    fn tests(&self, filters: &[&str]) -> Vec<String> {
        let output = Command::new(&self.binary).arg("--list").args(filters).output().expect("the binary");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
    }

    /// How long a test takes without a change, and which changes it comes by.
    fn reached(&self, test: &str) -> (f64, BTreeSet<usize>) {
        let trace = self.tree.join("trace");
        let _ = std::fs::remove_file(&trace);
        let begun = Instant::now();
        let ends =
            [self.test(0, &[test], Some(&trace), self.seconds), self.test(0, &[test], None, self.seconds)];
        assert!(ends.iter().all(|(end, _)| *end == End::Passed), "{test} fails without a change");
        let numbers = if trace.exists() { read(&trace) } else { String::new() };
        (begun.elapsed().as_secs_f64() / 2.0, numbers.lines().filter_map(|line| line.parse().ok()).collect())
    }

    fn test(&self, number: usize, tests: &[&str], trace: Option<&Path>, seconds: u64) -> (End, String) {
        let mut command = Command::new("prlimit");
        command.arg("--as=16000000000").arg(format!("--cpu={seconds}")).arg(&self.binary);
        command.arg("--exact").args(tests).current_dir(self.tree).env("WOVEN", number.to_string());
        command.env("PROPTEST_CASES", "32").env("PROPTEST_MAX_SHRINK_ITERS", "0").env("RUST_BACKTRACE", "0");
        if let Some(trace) = trace {
            command.env("WOVEN_TRACE", trace);
        }
        command.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null());
        let mut child = command.spawn().expect("prlimit");
        let (lines, output) = sync_channel(64);
        let stdout = child.stdout.take().expect("it is piped");
        let reader = std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).for_each(|line| _ = lines.send(line));
        });
        let mut by = Vec::new();
        self.listen(&mut child, &output, &mut by, seconds);
        let status = child.wait().expect("a child ends");
        drop(output);
        let _ = reader.join();
        // killed by a limit, or by us; an abort is a panic where none may be
        let aborted = matches!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6 | 11));
        let end = match status.code() {
            Some(0) => End::Passed,
            None if by.is_empty() && !aborted => End::Endless,
            _ => End::Failed,
        };
        (end, by.join(" "))
    }

    /// Reads until the end, or until enough is known.
    fn listen(&self, child: &mut Child, output: &Receiver<String>, by: &mut Vec<String>, seconds: u64) {
        let late = Instant::now() + Duration::from_secs(seconds * 10 + 10);
        loop {
            match output.recv_timeout(late.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let failed = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED"));
                    by.extend(failed.map(str::to_owned));
                    if failed.is_some() && self.hasty {
                        let _ = child.kill();
                        return;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let _ = child.kill();
                    return;
                }
            }
        }
    }
}
