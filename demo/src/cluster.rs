//! A throw-away Postgres cluster on a free port of 127.0.0.1, stopped and removed when it is dropped. Knows no schema.
use crate::random;
use crate::scratch::Scratch;
use anyhow::{Context, bail};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The server account that Debian's packages make; the server refuses to run as root.
const ACCOUNT: &str = "postgres";
const TRIES: usize = 5;

/// A running server. Logical replication is on, fsync too, and passwords are asked for (SCRAM).
#[derive(Debug)]
pub struct Cluster {
    programs: Programs,
    data: PathBuf,
    port: u16,
    options: String,
    password: String,
    // Dropped last: the server is stopped before its folder goes.
    _folder: Scratch,
}

impl Cluster {
    /// Makes and starts one. Blocks for a second or two. `settings` are `name=value` beside our own.
    pub fn start(settings: &[&str]) -> anyhow::Result<Self> {
        let programs = Programs::find()?;
        let folder = Scratch::new("tailhook-postgres")?;
        let password = password()?;
        let password_file = folder.path().join("password");
        std::fs::write(&password_file, &password)?;
        programs.give(folder.path())?;
        programs.give(&password_file)?;
        let data = folder.path().join("data");
        programs.run("initdb", |initdb| {
            initdb.args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]);
            initdb.args(["--no-instructions", "--pgdata"]).arg(&data);
            initdb.arg("--pwfile").arg(&password_file);
        })?;
        let mut cluster = Self { programs, data, port: 0, options: String::new(), password, _folder: folder };
        cluster.listen(settings)?;
        Ok(cluster)
    }
    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
    /// Where a role finds a database.
    pub fn url(&self, role: &str, password: &str, database: &str) -> String {
        format!("postgres://{role}:{password}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }
    /// The same for the superuser.
    pub fn superuser_url(&self, database: &str) -> String {
        self.url("postgres", &self.password, database)
    }
    fn listen(&mut self, settings: &[&str]) -> anyhow::Result<()> {
        let mut tries = 0;
        loop {
            tries += 1;
            self.port = free_port()?;
            self.options = format!(
                "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories= -c wal_level=logical \
                 -c fsync=on -c max_wal_senders=8 -c max_replication_slots=8",
                self.port
            );
            for setting in settings {
                self.options.push_str(" -c ");
                self.options.push_str(setting);
            }
            // Between asking for a free port and taking it somebody else may have taken it.
            match self.start_again() {
                Err(_) if tries < TRIES => {}
                done => return done,
            }
        }
    }
    /// Starts a server that was stopped or has crashed, on the same port. Blocks until it takes connections.
    pub fn start_again(&self) -> anyhow::Result<()> {
        let log = self.data.join("server.log");
        let started = self.programs.run("pg_ctl", |pg_ctl| {
            pg_ctl.args(["start", "--wait", "--silent", "--pgdata"]).arg(&self.data);
            pg_ctl.arg("--log").arg(&log).arg("--options").arg(&self.options);
        });
        started.with_context(|| format!("Postgres says: {}", last_line(&log)))
    }
    /// Stops it in a mode of `pg_ctl` and waits so many seconds for its end.
    pub fn stop(&self, mode: &str, patience_s: u32) -> anyhow::Result<()> {
        self.programs.run("pg_ctl", |pg_ctl| {
            pg_ctl.args(["stop", "--wait", "--silent"]).arg(format!("--mode={mode}"));
            pg_ctl.arg(format!("--timeout={patience_s}")).arg("--pgdata").arg(&self.data);
        })
    }
    /// What a killed server leaves behind. With it a new one refuses to start while anything has the old one's process
    /// number, be it a zombie that nobody reaps.
    pub fn remove_pid_file(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.data.join("postmaster.pid"))?)
    }
    /// The server's first process.
    pub fn postmaster(&self) -> Option<i32> {
        let file = std::fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        file.lines().next()?.trim().parse().ok()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.postmaster().is_none() {
            return;
        }
        if let Err(error) = self.stop("immediate", 60) {
            eprintln!("tailhook: the throw-away Postgres may still run: {error:#}");
        }
    }
}

/// The server's programs and how to run them.
#[derive(Debug)]
struct Programs {
    folder: PathBuf,
    as_root: bool,
}

impl Programs {
    fn find() -> anyhow::Result<Self> {
        let asked = Command::new("pg_config").arg("--bindir").output();
        let asked = asked.ok().filter(|output| output.status.success());
        let asked = asked.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
        let mut debian: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
            .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
            .unwrap_or_default();
        debian.sort();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let candidates =
            asked.into_iter().chain(debian.into_iter().rev()).chain(std::env::split_paths(&path));
        let complete = |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("pg_ctl").is_file();
        let Some(folder) = candidates.into_iter().find(complete) else {
            bail!(
                "no Postgres server on this machine (initdb and pg_ctl, looked for by pg_config, in \
                 /usr/lib/postgresql/*/bin and in PATH); install it, on Debian: apt-get install postgresql"
            );
        };
        Ok(Self { folder, as_root: runs_as_root() })
    }
    /// Lets the server's account have a file or folder.
    fn give(&self, path: &Path) -> anyhow::Result<()> {
        if !self.as_root {
            return Ok(());
        }
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        let given = Command::new("chown").arg(ACCOUNT).arg(path).status().context("chown cannot be run")?;
        if !given.success() {
            bail!(
                "no account `{ACCOUNT}` on this machine; as root the server needs it: install Debian's postgresql, or run as another user"
            );
        }
        Ok(())
    }
    /// Runs one to its end. Our own signals are not for it: Ctrl-C must not stop the server under the sidecar.
    fn run(&self, program: &str, arguments: impl FnOnce(&mut Command)) -> anyhow::Result<()> {
        let program = self.folder.join(program);
        let mut command = if self.as_root {
            let mut runuser = Command::new("runuser");
            runuser.args(["-u", ACCOUNT, "--"]).arg(&program);
            runuser
        } else {
            Command::new(&program)
        };
        arguments(&mut command);
        // The server inherits these: a pipe would never end.
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.process_group(0);
        let status = command.status().with_context(|| format!("{} cannot be run", program.display()))?;
        if !status.success() {
            bail!("{} failed ({status})", program.display());
        }
        Ok(())
    }
}

fn runs_as_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

/// A port of 127.0.0.1 that is free now.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A password that needs no quoting anywhere.
pub fn password() -> anyhow::Result<String> {
    Ok(format!("{:032x}", u128::from_ne_bytes(random::from_system()?)))
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("nothing").to_owned()
}
