//! A throw-away Postgres cluster: its own folder, a free port of 127.0.0.1, a Unix socket, `wal_level = logical`. Dropped,
//! it is stopped and removed. As root the server runs as user `postgres`, for it refuses to run as root.
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// How a cluster differs from the usual one.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// `pg_hba.conf`'s method for everybody over TCP and for all but `postgres` over the socket.
    pub method: &'static str,
    /// Lines of `postgresql.conf`, the last ones count.
    pub settings: &'static [&'static str],
}

impl Default for Options {
    fn default() -> Self {
        Self { method: "trust", settings: &[] }
    }
}

/// A running cluster with the database `erp`.
#[derive(Debug)]
pub struct Cluster {
    root: tempfile::TempDir,
    port: u16,
    /// The server's programs.
    bin: PathBuf,
}

impl Cluster {
    /// Makes and starts the usual one.
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    /// Makes and starts one.
    pub fn with(options: Options) -> Self {
        Self::of(bin(), options)
    }

    /// The usual one of a major version; the error says why there is none.
    #[allow(dead_code, reason = "for tests/sql")]
    pub fn of_version(major: u32) -> Result<Self, String> {
        let tool = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/postgres");
        let output = Command::new(tool).arg(major.to_string()).output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        let bin = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        Ok(Self::of(bin, Options::default()))
    }

    fn of(bin: PathBuf, options: Options) -> Self {
        let root = tempfile::Builder::new().prefix("tailhook-pg-").tempdir().expect("a temporary folder");
        if is_root() {
            let folder = root.path().as_os_str();
            checked(Command::new("chown").arg("postgres:").arg(folder));
        }
        let cluster = Self { root, port: free_port(), bin };
        let auth = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"];
        checked(cluster.program("initdb").arg("-D").arg(cluster.data()).args(auth));
        cluster.configure(options);
        cluster.up();
        cluster.sql_in("postgres", "CREATE DATABASE erp");
        cluster
    }

    fn configure(&self, options: Options) {
        let mut conf = format!(
            "port = {}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nwal_level = logical\n\
             fsync = off\nlogging_collector = off\nshared_buffers = 16MB\n",
            self.port,
            self.root.path().display()
        );
        for line in options.settings {
            writeln!(conf, "{line}").expect("a string takes it");
        }
        append(&self.data().join("postgresql.conf"), &conf);
        let method = options.method;
        let hba =
            format!("local all postgres trust\nlocal all all {method}\nhost all all 127.0.0.1/32 {method}\n");
        std::fs::write(self.data().join("pg_hba.conf"), hba).expect("pg_hba.conf");
    }

    /// Over TCP; `login` is `user` or `user:password`.
    pub fn url(&self, login: &str) -> String {
        format!("postgres://{login}@127.0.0.1:{}/erp", self.port)
    }

    /// Over the Unix socket.
    pub fn socket_url(&self, login: &str) -> String {
        format!("postgres://{login}@/erp?host={}&port={}", self.root.path().display(), self.port)
    }

    /// Runs SQL in `erp` as the superuser; what it prints, unaligned, one row a line.
    pub fn sql(&self, sql: &str) -> String {
        self.sql_in("erp", sql)
    }

    /// Runs SQL in a database as the superuser.
    pub fn sql_in(&self, database: &str, sql: &str) -> String {
        let port = self.port.to_string();
        let mut psql = Command::new(bin().join("psql"));
        psql.args([
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-p",
            &port,
            "-d",
            database,
            "-c",
            sql,
        ]);
        let output = checked(psql.arg("-h").arg(self.root.path()));
        String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned()
    }

    /// Stops the server: `fast`, `immediate`, `smart`.
    pub fn stop(&self, mode: &str) {
        checked(self.program("pg_ctl").arg("-D").arg(self.data()).args(["stop", "-w", "-m", mode]));
    }

    /// Starts it, after a `stop`.
    pub fn up(&self) {
        let log = self.root.path().join("log");
        checked(self.program("pg_ctl").arg("-D").arg(self.data()).args(["start", "-w", "-s", "-l"]).arg(log));
    }

    /// The data folder. Owned by the server's user.
    pub fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    fn program(&self, name: &str) -> Command {
        let program = self.bin.join(name);
        let mut command = if is_root() {
            let mut runuser = Command::new("runuser");
            runuser.args(["-u", "postgres", "--"]).arg(program);
            runuser
        } else {
            Command::new(program)
        };
        command.current_dir(self.root.path());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut stop = self.program("pg_ctl");
        let _stopped_already =
            stop.arg("-D").arg(self.data()).args(["stop", "-w", "-s", "-m", "immediate"]).output();
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// The newest server that Debian has installed, or what `PG_BIN` names.
fn bin() -> PathBuf {
    if let Some(named) = std::env::var_os("PG_BIN") {
        return named.into();
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|entry| entry.path()).max_by_key(|path| version(path));
    newest.expect("a PostgreSQL server (apt install postgresql-15), or PG_BIN").join("bin")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its number").port()
}

fn append(path: &Path, text: &str) {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().append(true).open(path).expect("the file");
    file.write_all(text.as_bytes()).expect("it takes it");
}

fn checked(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", said(&output.stdout), said(&output.stderr));
    output
}
