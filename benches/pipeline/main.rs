//! From commit to webhook, end to end, beside its limits: a throw-away Postgres, the built binary as a process of its own,
//! a TLS receiver. In the same run: the INSERTs alone, and `wrk` at the same receiver. `make bench`.
//!
//! `STALL_MS=200 make bench`: the latency alone, while each fsync of the index takes so much longer (strace injects it; the journal's
//! syncs are fdatasync, so they do not). `STALL_MS=0`: the same under strace without a delay, to compare with.
mod load;
mod process;
mod table;

use anyhow::{Context, bail};
use load::{Arrivals, Load};
use process::Process;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use table::{Limit, Table};
use tailhook_demo::certificates::Certificates;
use tailhook_demo::cluster::{Cluster, free_port, password};
use tailhook_demo::database::Database;
use tailhook_demo::receiver::{Received, Receiver};
use tailhook_demo::scratch::Scratch;
use tailhook_demo::sidecar::{Api, Settings};
use tailhook_demo::verdict::percentile;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

const COMMITS: usize = 20_000;
const CONNECTIONS: usize = 16;
const STEADY_EVENTS: usize = 1_000;
const STEADY_EVERY: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(120);
const TENANT: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
const SCHEMA: &str = "
    CREATE TABLE invoices (
        id uuid PRIMARY KEY, number varchar, supplier varchar, issue_date varchar, amount float, status varchar,
        created_at varchar DEFAULT now(), tenant_id uuid, customer_id uuid, subtotal float, vat float, total float);
    CREATE ROLE tailhook LOGIN REPLICATION BYPASSRLS PASSWORD 'bench';
    GRANT SELECT ON invoices TO tailhook;";
const SETTINGS: &str = r#"
[delivery]
per_endpoint = { concurrency = 64, rate = 0 }
[[event]]
name = "invoice.created"
table = "public.invoices"
on = "insert"
tenant = "tenant_id"
data = { invoice_id = "id", invoice_number = "number", amount = "total", status = "status" }
"#;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(Box::pin(bench()))
}

async fn bench() -> anyhow::Result<()> {
    let cluster = tokio::task::spawn_blocking(|| Cluster::start(&["shared_buffers=256MB"])).await??;
    let folder = Scratch::new("tailhook-bench")?;
    let superuser = cluster.superuser_url("postgres");
    Database::connect(&superuser).await?.run(SCHEMA).await?;

    let certificates = Certificates::new()?;
    let receiver = Receiver::bind(certificates.server.clone()).await?;
    let url = format!("https://{}/hook", receiver.address());
    let (sink, mut requests) = mpsc::channel(8192);
    let mut tasks = JoinSet::new();
    tasks.spawn(receiver.run(sink));

    let mut table = Table::default();
    let alone = Load::open(&superuser, TENANT, CONNECTIONS).await?;
    let (inserted, took) = alone.burst(COMMITS).await?;
    table.figure("INSERTs alone, commits/s", per_second(inserted.len(), took), Limit::None);
    match wrk(folder.path(), &url, &mut requests).await? {
        Some(rate) => table.figure("wrk at the same receiver, requests/s", rate, Limit::None),
        None => table.note("wrk is not installed: the receiver's own limit is not measured"),
    }

    let api = Api { address: SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)), token: password()? };
    let streaming = cluster.url("tailhook", "bench", "postgres");
    let settings = Settings {
        database: &streaming,
        folder: folder.path(),
        listen: api.address,
        authority_pem: &certificates.authority_pem,
        token: &api.token,
        rest: SETTINGS,
    };
    settings.write()?;
    let program = env!("CARGO_BIN_EXE_tailhook");
    process::run(program, &["migrate", "--config", "tailhook.toml", "--url", &superuser], folder.path())
        .await?;
    let stall = std::env::var("STALL_MS").ok();
    let run = process::stalling(stall.as_deref(), &[program, "run", "--config", "tailhook.toml"]);
    let run: Vec<&str> = run.iter().map(String::as_str).collect();
    let mut sidecar = Process::start(run[0], &run[1..], folder.path())?;
    tokio::select! {
        biased;
        fault = sidecar.ended() => return Err(fault),
        ready = api.ready() => ready?,
    }
    api.subscribe(TENANT, "invoice.created", &url, "a secret of the benchmark").await?;
    let load = Load::open(&superuser, TENANT, CONNECTIONS).await?;
    match &stall {
        None => Box::pin(burst(&load, &mut requests, &sidecar, &api, &mut table)).await?,
        Some(stall) => table.note(&format!("each fsync of the index is delayed by {stall} ms")),
    }
    Box::pin(steady(&load, &mut requests, &mut table)).await?;
    sidecar.stop().await?;
    println!("\n{}\n{table}", machine());
    Ok(())
}

/// Cores and processor, for whoever reads the table.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = about.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{cores} cores, {}", name.map_or("unknown processor", |(_, name)| name))
}

/// Everything at once.
async fn burst(
    load: &Load,
    requests: &mut mpsc::Receiver<Received>,
    sidecar: &Process,
    api: &Api,
    table: &mut Table,
) -> anyhow::Result<()> {
    let mut arrivals = Arrivals::default();
    let cpu = sidecar.cpu_seconds()?;
    let began = Instant::now();
    let (committed, collected) =
        tokio::join!(load.burst(COMMITS), arrivals.collect(requests, COMMITS, PATIENCE));
    let (committed, took) = committed?;
    let ended = collected.unwrap_or(began + PATIENCE);
    let missing = committed.keys().filter(|id| !arrivals.holds(id)).count();
    let rate = per_second(arrivals.len(), ended - began);
    table.figure("commits/s while it streams", per_second(committed.len(), took), Limit::None);
    table.figure("events/s end to end", rate, Limit::AtLeast(4000.0));
    let cpu = (sidecar.cpu_seconds()? - cpu) * 10_000.0 / COMMITS as f64;
    table.figure("sidecar CPU-s per 10,000 events", cpu, Limit::AtMost(1.5));
    table.figure("sidecar RSS at most, MiB", sidecar.peak_mebibytes()?, Limit::AtMost(150.0));
    table.figure("distinct events", arrivals.len() as f64, Limit::AtLeast(COMMITS as f64));
    table.figure("lost events", missing as f64, Limit::AtMost(0.0));
    table.figure("repeated requests", arrivals.repeats() as f64, Limit::None);
    let lag = api.metrics().await?;
    let lag = lag.lines().find_map(|line| line.strip_prefix("tailhook_index_lag_frames "));
    table.figure(
        "index lag at the end, frames",
        lag.and_then(|lag| lag.parse().ok()).unwrap_or(f64::NAN),
        Limit::None,
    );
    if missing > 0 {
        println!("{table}");
        bail!("{missing} of {COMMITS} committed changes have no event after {PATIENCE:?}");
    }
    Ok(())
}

/// A few at a time, for the latency.
async fn steady(
    load: &Load,
    requests: &mut mpsc::Receiver<Received>,
    table: &mut Table,
) -> anyhow::Result<()> {
    let mut arrivals = Arrivals::default();
    let (committed, collected) = tokio::join!(
        load.steady(STEADY_EVENTS, STEADY_EVERY),
        arrivals.collect(requests, STEADY_EVENTS, PATIENCE)
    );
    let committed = committed?;
    collected.context("events are lost at 50 a second")?;
    let mut latencies: Vec<Duration> = committed
        .iter()
        .filter_map(|(id, at)| arrivals.at(id).map(|arrived| arrived.saturating_duration_since(*at)))
        .collect();
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1000.0;
    table.figure("50 events/s: p50, ms", milliseconds(percentile(&mut latencies, 50)), Limit::AtMost(3.0));
    table.figure("50 events/s: p99, ms", milliseconds(percentile(&mut latencies, 99)), Limit::AtMost(12.0));
    Ok(())
}

/// Requests a second that the receiver bears, with a body of an event's size.
async fn wrk(
    folder: &std::path::Path,
    url: &str,
    requests: &mut mpsc::Receiver<Received>,
) -> anyhow::Result<Option<f64>> {
    let script = folder.join("wrk.lua");
    let body = "x".repeat(500);
    std::fs::write(&script, format!("wrk.method = 'POST'\nwrk.body = '{body}'\n"))?;
    let mut wrk = tokio::process::Command::new("wrk");
    wrk.args(["-t2", "-c64", "-d5s", "-s"]).arg(&script).arg(url).kill_on_drop(true);
    let output = wrk.output();
    tokio::pin!(output);
    let output = loop {
        tokio::select! {
            biased;
            output = &mut output => break output,
            _ = requests.recv() => {}
        }
    };
    while requests.try_recv().is_ok() {}
    let Ok(output) = output else { return Ok(None) };
    let text = String::from_utf8_lossy(&output.stdout);
    let rate = text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:"));
    Ok(Some(rate.and_then(|rate| rate.trim().parse().ok()).context("wrk says nothing")?))
}

fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}
