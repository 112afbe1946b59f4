//! A cluster with a small ERP, a receiver that keeps what it gets, and the binary as a child process.
use rustls::ServerConfig;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tailhook_demo::certificates::Certificates;
use tailhook_demo::cluster::{self, Cluster};
use tailhook_demo::database::Database;
use tailhook_demo::receiver::{Received, Receiver};
use tailhook_demo::scratch::Scratch;
use tailhook_demo::sidecar::{Api, Settings};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

pub(crate) const TENANT: &str = "11111111-1111-4111-8111-111111111111";
pub(crate) const SECRET: &str = "a secret of the old kind";
/// Far beyond anything that noise can do.
const PATIENCE: Duration = Duration::from_secs(120);

const SCHEMA: &str = "
CREATE ROLE tailhook LOGIN REPLICATION BYPASSRLS PASSWORD 'pw';
CREATE TABLE invoices (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), number varchar, status varchar DEFAULT 'draft',
                       total float, notes text, tenant_id uuid NOT NULL);
GRANT SELECT ON invoices TO tailhook;";

pub(crate) const RULES: &str = r#"
[[event]]
name = "invoice.created"
table = "public.invoices"
on = "insert"
tenant = "tenant_id"
data = { invoice_id = "id", number = "number", total = "total", status = "status" }
[[event]]
name = "invoice.sent"
table = "public.invoices"
on = "update"
becomes = { status = "sent" }
tenant = "tenant_id"
data = { invoice_id = "id", number = "number", status = "status" }
"#;

/// What arrived, in order of arrival.
#[derive(Clone, Default)]
pub(crate) struct Inbox {
    received: Arc<Mutex<Vec<Received>>>,
    news: Arc<Notify>,
}

impl Inbox {
    fn push(&self, received: Received) {
        self.received.lock().unwrap().push(received);
        self.news.notify_waiters();
    }
    /// Looks at all of it.
    pub(crate) fn look<T>(&self, see: impl FnOnce(&[Received]) -> T) -> T {
        see(&self.received.lock().unwrap())
    }
    /// Bodies by event id; a repeat must have the same body.
    pub(crate) fn bodies(&self) -> BTreeMap<String, Value> {
        self.look(|all| {
            let mut bodies: BTreeMap<String, (Value, &[u8])> = BTreeMap::new();
            for request in all {
                let id = request.header("webhook-id").to_owned();
                let body = serde_json::from_slice(&request.body).expect("JSON");
                let known = bodies.entry(id).or_insert((body, &request.body));
                assert_eq!(known.1, request.body, "one id, two bodies");
            }
            bodies.into_iter().map(|(id, (body, _))| (id, body)).collect()
        })
    }
    /// Distinct events of a name, as (resource, body).
    pub(crate) fn events(&self, name: &str) -> Vec<Value> {
        self.bodies().into_values().filter(|body| body["event"] == name).collect()
    }
    /// Waits until `enough` says so.
    pub(crate) async fn until(&self, what: &str, enough: impl Fn(&Self) -> bool) {
        let waiting = async {
            loop {
                let news = self.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                if enough(self) {
                    return;
                }
                news.await;
            }
        };
        assert!(
            tokio::time::timeout(PATIENCE, waiting).await.is_ok(),
            "never came: {what}; {} requests",
            self.look(<[_]>::len)
        );
    }
}

pub(crate) struct Rig {
    pub(crate) erp: Database,
    pub(crate) inbox: Inbox,
    pub(crate) api: Api,
    pub(crate) folder: Scratch,
    pub(crate) hook: String,
    /// Of the receiver, for others beside it.
    pub(crate) tls: Arc<ServerConfig>,
    /// What `run` finds in its environment beside our own.
    pub(crate) environment: Vec<(&'static str, String)>,
    child: Option<Child>,
    _tasks: JoinSet<()>,
    pub(crate) cluster: Cluster,
}

impl Rig {
    /// Everything but the sidecar.
    pub(crate) async fn new(rules: &str) -> Self {
        Self::with(SCHEMA, rules).await
    }
    /// The same with another ERP, whose streaming role is `tailhook` with the password `pw`; `rest` is the rest of the file.
    pub(crate) async fn with(schema: &str, rest: &str) -> Self {
        let cluster = tokio::task::spawn_blocking(|| Cluster::start(&[])).await.unwrap().expect("a cluster");
        let erp = Database::connect(&cluster.superuser_url("postgres")).await.expect("a connection");
        erp.run(schema).await.expect("the schema");
        let url = cluster.url("tailhook", "pw", "postgres");
        let folder = Scratch::new("tailhook-whole").unwrap();
        let certificates = Certificates::new().unwrap();
        let receiver = Receiver::bind(certificates.server.clone()).await.unwrap();
        let hook = format!("https://{}/hook", receiver.address());
        let inbox = Inbox::default();
        let (sink, mut received) = mpsc::channel(1024);
        let mut tasks = JoinSet::new();
        let keep = inbox.clone();
        tasks.spawn(async move { match receiver.run(sink).await {} });
        tasks.spawn(async move {
            while let Some(request) = received.recv().await {
                keep.push(request);
            }
        });
        let token = cluster::password().unwrap();
        let address = ([127, 0, 0, 1], cluster::free_port().unwrap()).into();
        let settings = Settings {
            database: &url,
            folder: folder.path(),
            listen: address,
            authority_pem: &certificates.authority_pem,
            token: &token,
            rest,
        };
        settings.write().unwrap();
        let api = Api { address, token };
        let tls = certificates.server;
        let environment = Vec::new();
        let rig =
            Self { erp, inbox, api, folder, hook, tls, environment, child: None, _tasks: tasks, cluster };
        let done = rig.tool(&["migrate", "--url", &rig.cluster.superuser_url("postgres")]);
        assert!(done.0.success(), "{}", done.1);
        rig
    }
    /// The sidecar streams, and the tenant has subscribed to everything.
    pub(crate) async fn subscribed(rules: &str) -> Self {
        let mut rig = Self::new(rules).await;
        rig.start(&[]);
        rig.ready().await;
        rig.api.subscribe(TENANT, "*", &rig.hook, SECRET).await.expect("a subscription");
        rig
    }
    /// A command of the binary: its status and all that it printed.
    pub(crate) fn tool(&self, arguments: &[&str]) -> (ExitStatus, String) {
        let output = self.command(arguments).output().expect("the binary");
        let text = [output.stdout, output.stderr].concat();
        (output.status, String::from_utf8_lossy(&text).into_owned())
    }
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tailhook"));
        command
            .args(arguments)
            .arg("--config")
            .arg(self.folder.path().join("tailhook.toml"))
            .stdin(Stdio::null());
        command
    }
    /// Starts `run`; its log goes to a file.
    pub(crate) fn start(&mut self, arguments: &[&str]) {
        let log = File::options().create(true).append(true).open(self.log_file()).unwrap();
        let mut command = self.command(&[&["run"], arguments].concat());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        self.child = Some(command.stdout(Stdio::null()).stderr(log).spawn().expect("the binary"));
    }
    /// Changes `tailhook.toml`; what runs does not notice.
    pub(crate) fn edit(&self, change: impl FnOnce(String) -> String) {
        let file = self.folder.path().join("tailhook.toml");
        std::fs::write(&file, change(std::fs::read_to_string(&file).unwrap())).unwrap();
    }
    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }
    /// Waits until `/readyz` says so.
    pub(crate) async fn ready(&self) {
        if let Err(why) = self.api.ready().await {
            panic!("{why:#}; log:\n{}", self.log());
        }
    }
    /// kill -9.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    /// SIGTERM; gives how it ended.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.ended().await
    }
    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        let id = self.child.as_ref().expect("it runs").id();
        let pid = rustix::process::Pid::from_raw(id.try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }
    /// The process.
    pub(crate) fn pid(&self) -> i32 {
        self.child.as_ref().expect("it runs").id().try_into().unwrap()
    }
    /// Has it ended by itself?
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }
    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap()
    }
    /// A second connection to the ERP.
    pub(crate) async fn another(&self) -> Database {
        Database::connect(&self.cluster.superuser_url("postgres")).await.expect("a connection")
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
