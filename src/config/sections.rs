//! Reads each section of the file (SPEC 3) and refuses what does nothing yet. Knows the keys, not TOML's grammar.
use super::events;
use super::problem::ProblemReport;
use super::section::Section;
use super::settings::{Config, IndexEngine, LogFormat, LogSection, MetricsSection, Secrets};
use super::{admin, database, delivery};
use crate::settings::{EgressSettings, EnvelopeSettings, StoreSettings};
use std::path::PathBuf;
use toml::de::DeValue;

/// Reads the whole file. `whole`: the file parsed without errors, so what is missing is truly missing.
pub(super) fn read(root: &Section<'_>, report: &ProblemReport<'_>, whole: bool) -> Config {
    messages(root.section("messages"));
    let (events, mapping) = events::read(root, report);
    let mut envelope = operations(root.section("operations"));
    let mut egress = egress(root.section("egress"));
    let dispatch = delivery::read(root.section("delivery"), &mut envelope, &mut egress);
    let (data_folder, index, store) = store(root.section("store"));
    Config {
        database: database::read(root.section("database"), whole),
        data_folder,
        index,
        store,
        secrets: secrets(root.section("secrets")),
        dispatch,
        envelope,
        egress,
        admin: admin::read(root.section("admin"), report),
        metrics: metrics(root.section("metrics")),
        log: log(root.section("log")),
        events,
        mapping,
    }
}

fn messages(section: Section<'_>) {
    if section.flag("enabled", false) {
        section.not_yet("enabled", "events by pg_logical_emit_message are not read");
    }
    if section.list("events", "write a list of event names", text).is_some_and(|list| !list.is_empty()) {
        section.not_yet("events", "events by pg_logical_emit_message are not read");
    }
    section.finish();
}

fn store(section: Section<'_>) -> (PathBuf, IndexEngine, StoreSettings) {
    let defaults = StoreSettings::default();
    if section.flag("archive", false) {
        section.not_yet("archive", "finished deliveries are not copied into webhook_deliveries");
    }
    let folder = path(&section, "path", PathBuf::from("./tailhook-data"));
    let engines = [("lsm", IndexEngine::Lsm), ("sled", IndexEngine::Sled)];
    let index = section.choice("index", IndexEngine::Lsm, &engines);
    let store = StoreSettings {
        history: section.duration("history", defaults.history),
        history_max: section.whole("history_max", defaults.history_max, 1..=delivery::MANY),
        min_free: section.size("min_free", defaults.min_free),
        ..defaults
    };
    section.finish();
    (folder, index, store)
}

fn secrets(section: Section<'_>) -> Secrets {
    let defaults = Secrets::default();
    let secrets = Secrets {
        master_key_file: path(&section, "master_key_file", defaults.master_key_file),
        insecure_plaintext: section.flag("insecure_plaintext", defaults.insecure_plaintext),
    };
    section.finish();
    secrets
}

fn egress(section: Section<'_>) -> EgressSettings {
    let defaults = EgressSettings::default();
    if section.has("proxy_listen") {
        section.not_yet("proxy_listen", "other programs cannot push through the proxy");
    }
    let port = |value: &DeValue<'_>| {
        let number = value.as_integer()?;
        u16::from_str_radix(number.as_str(), number.radix()).ok().filter(|port| *port > 0)
    };
    let network = |value: &DeValue<'_>| {
        let text = value.as_str()?;
        text.parse().ok().or_else(|| text.parse().ok().map(|address: std::net::IpAddr| address.into()))
    };
    let egress = EgressSettings {
        allow_http: section.flag("allow_http", defaults.allow_http),
        allow_networks: section
            .list("allow_networks", "write networks as \"10.20.0.0/16\" or \"fd00::/8\"", network)
            .unwrap_or(defaults.allow_networks),
        ports: section.list("ports", "write ports from 1 to 65535", port).unwrap_or(defaults.ports),
        ca_files: section
            .list("ca_files", "write paths of PEM files", |value| value.as_str().map(PathBuf::from))
            .unwrap_or(defaults.ca_files),
        user_agent: defaults.user_agent,
    };
    section.finish();
    egress
}

fn operations(section: Section<'_>) -> EnvelopeSettings {
    let defaults = EnvelopeSettings::default();
    let operations = section.text("tenant", &defaults.operations);
    section.finish();
    EnvelopeSettings { operations, ..defaults }
}

fn metrics(section: Section<'_>) -> MetricsSection {
    if section.flag("tenant_label", false) {
        section.not_yet("tenant_label", "no metric carries a tenant");
    }
    section.finish();
    MetricsSection::default()
}

fn log(section: Section<'_>) -> LogSection {
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = section.choice("format", LogFormat::Text, &formats);
    section.finish();
    LogSection { format }
}

/// What holds between settings, the environment's included. A breaker that the file does not set follows `max_retries`.
pub(super) fn check(config: &mut Config, root: &Section<'_>, report: &ProblemReport<'_>) {
    let delivery = &mut config.dispatch;
    let most = delivery.max_retries.saturating_add(1);
    if delivery.breaker.failures <= most {
        return;
    }
    let breaker = root.section("delivery").section("breaker");
    if breaker.has("failures") {
        let why = "a delivery would fail before its endpoint is refused";
        let text =
            format!("is more than max_retries + 1, so {why}; choose at most {most}, or 0 for no breaker");
        report.add(breaker.line_of("failures"), format!("delivery.breaker.failures: {text}"));
    } else {
        delivery.breaker.failures = most;
    }
}

/// An element of a list of strings.
pub(super) fn text(value: &DeValue<'_>) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

fn path(section: &Section<'_>, key: &'static str, default: PathBuf) -> PathBuf {
    match section.optional_text(key) {
        Some(text) if text.is_empty() => {
            section.problem(key, "is empty; name a path or leave the line out");
            default
        }
        Some(text) => PathBuf::from(text),
        None => default,
    }
}
