//! The sidecar as a process of its own, so that CPU and memory are its own.
use anyhow::{Context, anyhow, bail};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Ticks a second of /proc/…/stat: fixed on Linux, whatever the kernel's own clock is.
const TICKS: f64 = 100.0;
const STOP: Duration = Duration::from_secs(10);

/// The command under strace, which delays every fsync; `None`: the command itself.
pub(crate) fn stalling(stall_ms: Option<&str>, command: &[&str]) -> Vec<String> {
    let inject = |stall: &str| format!("inject=fsync:delay_enter={stall}ms");
    let strace = stall_ms.map(|stall| {
        let traced =
            ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e"];
        traced.into_iter().map(str::to_owned).chain([inject(stall)])
    });
    strace.into_iter().flatten().chain(command.iter().map(|word| (*word).to_owned())).collect()
}

/// A running sidecar.
pub(crate) struct Process {
    child: Child,
    pid: u32,
    log: PathBuf,
}

impl Process {
    /// Starts it in a folder with a tailhook.toml; its log goes there too.
    pub(crate) fn start(program: &str, arguments: &[&str], folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join("sidecar.log");
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log)?);
        let child = command.spawn().context("the sidecar cannot be started")?;
        let pid = child.id().context("the sidecar has no id")?;
        Ok(Self { child, pid, log })
    }
    /// Ends only if it does, with what it said last.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        let status = self.child.wait().await;
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        anyhow!("the sidecar ended ({status:?}): {}", said.lines().last().unwrap_or("nothing"))
    }
    /// User and system time that it has used.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid))?;
        // The name in brackets may hold anything; the fields are counted after it.
        let fields: Vec<&str> = stat.rsplit_once(')').context("no stat")?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).context("no stat");
        Ok((ticks(11)? + ticks(12)?) / TICKS)
    }
    /// The most memory that it ever had.
    pub(crate) fn peak_mebibytes(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<f64>().ok());
        Ok(kibibytes.context("no VmHWM")? / 1024.0)
    }
    /// SIGTERM, and a good end within ten seconds.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        run("kill", &["-TERM", &self.pid.to_string()], Path::new("/")).await?;
        let status = timeout(STOP, self.child.wait()).await.context("SIGTERM does not end it in 10 s")??;
        if !status.success() {
            bail!("the sidecar ended with {status}");
        }
        Ok(())
    }
}

/// Runs a program to its good end.
pub(crate) async fn run(program: &str, arguments: &[&str], folder: &Path) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).current_dir(folder).output().await?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
