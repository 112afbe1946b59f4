//! The built binary, as a shell sees it: exit status, what it prints and where.
#![allow(clippy::unwrap_used, reason = "this is a test")]
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

struct Run {
    status: i32,
    stdout: String,
    stderr: String,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tailhook"));
    command.args(arguments).stdin(Stdio::null());
    for name in [
        "TAILHOOK_CONFIG",
        "WEBHOOK_TIMEOUT_SECONDS",
        "WEBHOOK_MAX_RETRIES",
        "WEBHOOK_USER_AGENT",
        "PGPASSWORD",
    ] {
        command.env_remove(name);
    }
    command
}

fn finished(output: Output) -> Run {
    Run {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn run(arguments: &[&str]) -> Run {
    finished(command(arguments).output().unwrap())
}

fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY: &str = "{\"test\": 2432232314}";
/// The published vector of Standard Webhooks.
const HEADERS: &str = "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek\nWebhook-Timestamp: 1614265330\n\
    webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=\n";

#[test]
fn wrong_usage_exits_2() {
    for arguments in [
        &["nonsense"][..],
        &[],
        &["token", "--scope", "all"],
        &["verify"],
        &["store"],
        &["demo", "--for", "0s"],
        &["run", "--no"],
        &["run", "--accept-gap=0/1"],
        &["run", "--accept-gap=0/1-x"],
    ] {
        let run = run(arguments);
        assert_eq!(run.status, 2, "{arguments:?}: {}", run.stderr);
        assert!(run.stdout.is_empty() && !run.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn every_command_helps_with_an_example() {
    let demo = cfg!(feature = "demo").then_some("demo");
    for name in ["run", "check", "migrate", "verify", "token", "store"].into_iter().chain(demo) {
        let run = run(&[name, "--help"]);
        assert_eq!(run.status, 0, "{name}");
        assert!(run.stdout.contains(&format!("Examples:\n  tailhook {name}")), "{}", run.stdout);
    }
}

#[test]
fn a_bad_file_names_every_problem_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[database]\nurl = \"postgres://u:s3cret@h/d?sslmode=require\"\nslott = \"x\"\n\n[delivery]\ntimeout = \"soon\"\n\
        suspend_after = \"5d\"\n[[event]]\nname = \"Nonsense\"\ntable = \"public.t\"\non = \"insert\"\ntenant = \"t\"\n";
    let path = file(folder.path(), "bad.toml", text);
    let name = path.to_str().unwrap();
    for command in ["run", "check", "migrate"] {
        let run = run(&[command, "--config", name]);
        assert_eq!(run.status, 1, "{command}");
        let lines: Vec<&str> = run.stderr.lines().collect();
        let expected = [(2, "not yet"), (3, "slot"), (6, "soon"), (7, "not yet"), (8, "Nonsense")];
        assert_eq!(lines.len(), expected.len(), "{command}: {}", run.stderr);
        for ((number, what), line) in expected.iter().zip(lines) {
            assert!(
                line.starts_with(&format!("{name}:{number}: ")) && line.contains(what),
                "{command}: {line}"
            );
        }
        assert!(!run.stderr.contains("s3cret"), "{command}");
    }
}

#[test]
fn a_missing_file_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut check = command(&["check"]);
    check.current_dir(folder.path());
    let run = finished(check.output().unwrap());
    assert_eq!((run.status, run.stderr.lines().count()), (1, 1), "{}", run.stderr);
    assert!(run.stderr.contains("tailhook.toml") && run.stderr.contains("--config"), "{}", run.stderr);
    let mut named = command(&["check"]);
    named.env("TAILHOOK_CONFIG", folder.path().join("other.toml"));
    assert!(finished(named.output().unwrap()).stderr.contains("other.toml"));
}

#[test]
fn an_unreachable_database_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    // Nobody listens on a port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!("[database]\nurl = \"postgres://u:s3cret@127.0.0.1:{port}/d\"\n");
    let path = file(folder.path(), "t.toml", &text);
    let run = run(&["migrate", "--config", path.to_str().unwrap()]);
    assert_eq!((run.status, run.stderr.lines().count()), (1, 1), "{}", run.stderr);
    assert!(run.stderr.contains("cannot be reached") && !run.stderr.contains("s3cret"), "{}", run.stderr);
}

#[test]
fn a_token_is_printed_once_and_its_lines_are_read_back() {
    let run = run(&["token", "--name", "erp \"x\"", "--tenant", "t1", "--scope", "read"]);
    assert_eq!(run.status, 0, "{}", run.stderr);
    let (token, lines) = run.stdout.split_once('\n').unwrap();
    assert!(token.starts_with("th_") && token.len() == 46, "{token}");
    assert_eq!(run.stdout.matches("th_").count(), 1);
    let read: toml::Table = lines.parse().unwrap();
    let read = &read["admin"]["token"][0];
    let hash: String =
        Sha256::digest(token).iter().fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"));
    let values = ["name", "tenant", "scope", "sha256"].map(|key| read[key].as_str().unwrap().to_owned());
    assert_eq!(values, ["erp \"x\"", "t1", "read", &hash]);
}

#[test]
fn signatures_are_verified() {
    let folder = tempfile::tempdir().unwrap();
    let headers = file(folder.path(), "headers", HEADERS);
    let body = file(folder.path(), "body", BODY);
    let altered = file(folder.path(), "altered", "{\"test\": 2432232315}");
    let none = file(folder.path(), "none", "content-type: text/plain\n");
    let broken = file(folder.path(), "broken", "no colon here\n");
    let missing = folder.path().join("missing");
    for (headers, body, secret, status, says) in [
        (&headers, &body, SECRET, 0, "webhook-signature: verified"),
        (&headers, &altered, SECRET, 1, "webhook-signature"),
        (&headers, &body, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 1, "webhook-signature"),
        (&none, &body, SECRET, 1, "missing"),
        (&broken, &body, SECRET, 1, "line 1"),
        (&missing, &body, SECRET, 1, "missing"),
    ] {
        let (headers, body) = (headers.to_str().unwrap(), body.to_str().unwrap());
        let run = run(&["verify", "--secret", secret, "--headers", headers, "--body", body]);
        assert_eq!(run.status, status, "{headers} {body}: {}", run.stderr);
        let said = if status == 0 { &run.stdout } else { &run.stderr };
        assert!(said.contains(says), "{said}");
        assert!(!format!("{}{}", run.stdout, run.stderr).contains(secret), "a secret is printed");
    }
}

#[test]
fn a_body_from_standard_input_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    let headers = file(folder.path(), "headers", HEADERS);
    let mut verify = command(&["verify", "--secret", SECRET, "--headers", headers.to_str().unwrap()]);
    let mut child =
        verify.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(BODY.as_bytes()).unwrap();
    let run = finished(child.wait_with_output().unwrap());
    assert_eq!(run.status, 0, "{}", run.stderr);
}
