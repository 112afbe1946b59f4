//! The sidecar as a child process, as its users run it: started, heard, stopped, never left behind. Knows no database.
use anyhow::{Context, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How often a killed child is looked for before it is given up, ten milliseconds apart.
const LOOKS: u32 = 500;

/// A running sidecar. Dropped, it is killed.
#[derive(Debug)]
pub struct Sidecar {
    child: Child,
    pid: Pid,
    /// Gives the log's last line when the log ends.
    log: JoinSet<String>,
}

impl Sidecar {
    /// Runs `program` with the `tailhook.toml` of a folder. Its log goes to our standard error, from warnings upwards unless
    /// `TAILHOOK_LOG` asks for something else.
    pub fn start(program: &Path, folder: &Path) -> anyhow::Result<Self> {
        let mut command = command(program, &["run"], folder);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        if std::env::var_os("TAILHOOK_LOG").is_none() {
            command.env("TAILHOOK_LOG", "warn");
        }
        let mut child =
            command.spawn().with_context(|| format!("{} cannot be started", program.display()))?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let pid = pid.context("the sidecar has no process number")?;
        let stderr = child.stderr.take().context("the sidecar has no standard error")?;
        let mut log = JoinSet::new();
        log.spawn(pass_on(stderr));
        Ok(Self { child, pid, log })
    }
    /// Ends only when the sidecar does, which it should not.
    pub async fn ended(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => {
                anyhow!("the sidecar ended by itself ({status}); it said last: {}", self.last_line().await)
            }
            Err(error) => anyhow::Error::new(error).context("the sidecar cannot be waited for"),
        }
    }
    /// Asks it to stop by SIGTERM and waits for its end; after so long it is killed.
    pub async fn stop(mut self, patience: Duration) -> anyhow::Result<()> {
        // One that was waited for has no number any more; until then the number is nobody else's.
        if self.child.id().is_some() {
            kill_process(self.pid, Signal::TERM).context("the sidecar cannot be stopped")?;
        }
        let Ok(status) = timeout(patience, self.child.wait()).await else {
            self.child.kill().await.context("the sidecar cannot be killed")?;
            bail!("the sidecar did not stop within {patience:?} of SIGTERM and was killed");
        };
        let (status, said) = (status?, self.last_line().await);
        if !status.success() {
            bail!("the sidecar did not stop in good order ({status}); it said last: {said}");
        }
        Ok(())
    }
    async fn last_line(&mut self) -> String {
        let last = self.log.join_next().await.and_then(Result::ok).unwrap_or_default();
        if last.is_empty() { "nothing".to_owned() } else { last }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // Ended already, or not killable: the loop sees either.
        let _ = self.child.start_kill();
        for _ in 0..LOOKS {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        eprintln!("tailhook: the sidecar may still run: process {}", self.pid.as_raw_nonzero());
    }
}

/// Runs another command of `program` with the same file to its good end.
pub async fn run(program: &Path, arguments: &[&str], folder: &Path) -> anyhow::Result<()> {
    let output = command(program, arguments, folder).output().await;
    let output = output.with_context(|| format!("{} cannot be started", program.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let (command, last) = (arguments.first().copied(), said.lines().last().unwrap_or("nothing"));
        bail!("`tailhook {}` failed ({}): {last}", command.unwrap_or_default(), output.status);
    }
    Ok(())
}

fn command(program: &Path, arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).arg("--config").arg(folder.join("tailhook.toml"));
    // The file alone says what it does: nothing of somebody's own sidecar or database.
    let theirs = |name: &std::ffi::OsString| {
        ["WEBHOOK_", "PG"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix))
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| theirs(name)) {
        command.env_remove(name);
    }
    // A terminal sends Ctrl-C to the whole group: the child must not stop before the demonstration asks it to.
    command.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    command
}

/// Line by line to our own standard error. Whether anybody reads it is no matter of the sidecar's.
async fn pass_on(log: impl AsyncRead + Unpin) -> String {
    let mut lines = BufReader::new(log).lines();
    let mut last = String::new();
    while let Ok(Some(line)) = lines.next_line().await {
        let _ = std::io::Write::write_fmt(&mut std::io::stderr().lock(), format_args!("{line}\n"));
        last = line;
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use std::os::unix::fs::OpenOptionsExt;

    /// A shell script in place of the sidecar; it writes `up` when it runs.
    async fn start(script: &str) -> (Scratch, Sidecar) {
        let folder = Scratch::new("tailhook-child").unwrap();
        let program = folder.path().join("program");
        let mut options = std::fs::File::options();
        let file = options.create(true).truncate(true).write(true).mode(0o700).open(&program).unwrap();
        let up = folder.path().join("up");
        let text = format!("#!/bin/sh\n{}\n", script.replace("UP", &format!("touch {}", up.display())));
        std::io::Write::write_all(&mut &file, text.as_bytes()).unwrap();
        drop(file);
        let mut sidecar = Sidecar::start(&program, folder.path());
        // Another test's thread may have forked while the file was open for writing.
        while let Err(error) = &sidecar
            && format!("{error:#}").contains("busy")
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
            sidecar = Sidecar::start(&program, folder.path());
        }
        while !up.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (folder, sidecar.unwrap())
    }
    fn is_there(pid: Pid) -> bool {
        rustix::process::test_kill_process(pid).is_ok()
    }

    #[tokio::test]
    async fn one_that_ends_by_itself_is_reported_with_its_last_line() {
        let (_folder, mut sidecar) =
            start("UP; echo first >&2; echo 'tailhook: no such database' >&2; exit 3").await;
        let fault = format!("{:#}", sidecar.ended().await);
        assert!(fault.contains("exit status: 3") && fault.ends_with("tailhook: no such database"), "{fault}");
        let (_folder, mut silent) = start("UP").await;
        assert!(silent.ended().await.to_string().ends_with("it said last: nothing"));
    }

    #[tokio::test]
    async fn it_is_stopped_by_sigterm_and_killed_when_that_does_not_help() {
        let (_folder, sidecar) = start("trap 'kill $!; exit 0' TERM; sleep 60 & UP; wait").await;
        let pid = sidecar.pid;
        sidecar.stop(Duration::from_mins(1)).await.unwrap();
        assert!(!is_there(pid));
        let (_folder, deaf) = start("trap '' TERM; UP; while :; do :; done").await;
        let pid = deaf.pid;
        let error = deaf.stop(Duration::from_millis(200)).await.unwrap_err().to_string();
        assert!(error.contains("was killed") && !is_there(pid), "{error}");
        let (_folder, failing) = start("trap 'echo lost >&2; exit 1' TERM; UP; while :; do :; done").await;
        let error = failing.stop(Duration::from_mins(1)).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 1") && error.ends_with("lost"), "{error}");
    }

    #[tokio::test]
    async fn dropped_it_is_gone_and_it_had_a_group_of_its_own() {
        let (_folder, sidecar) = start("UP; while :; do :; done").await;
        let pid = sidecar.pid;
        assert_eq!(rustix::process::getpgid(Some(pid)).unwrap(), pid);
        drop(sidecar);
        assert!(!is_there(pid));
    }

    #[tokio::test]
    async fn a_command_that_fails_is_reported_with_its_last_line() {
        let folder = Scratch::new("tailhook-child").unwrap();
        run(Path::new("true"), &[], folder.path()).await.unwrap();
        let error = run(Path::new("sh"), &["-c", "echo no >&2; exit 1"], folder.path()).await.unwrap_err();
        assert!(error.to_string().ends_with("(exit status: 1): no"), "{error:#}");
        assert!(run(Path::new("/nowhere/tailhook"), &[], folder.path()).await.is_err());
    }
}
