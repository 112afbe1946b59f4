//! No credential is at rest in the clear, nor shown: a secret and header values, written by the API and by SQL, are looked for in
//! every file, log line, answer and metric, and in the API's rows. What an earlier version left in the clear is sealed at a start.
use crate::credentials::{self, Canary};
use crate::rig::{RULES, Rig, TENANT};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tailhook_demo::http;

const BASE: &str = "/api/v1/tenant/webhooks";
/// Values of headers: of the API's rows, of a row that SQL wrote; and the secrets of both.
const API: &str = "canary-header-of-the-api-5f1c";
const SQL: &str = "canary-header-of-sql-93ab";
const API_SECRET: &str = "canary-secret-of-the-api-77d0";
const SQL_SECRET: &str = "canary-secret-of-sql-c20e";

fn canaries(texts: &[&str]) -> Vec<Canary> {
    texts.iter().map(|text| Canary::new(text)).collect()
}

async fn call(rig: &Rig, method: &str, path: &str, body: Value) -> (u16, Value) {
    let headers = [format!("Authorization: Bearer {}", rig.api.token), format!("X-Tenant-Id: {TENANT}")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = http::request(rig.api.address, method, path, &headers, &body).await.unwrap();
    (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::String(answer.body)))
}

/// A subscription by the API, with a secret and a header of its own.
async fn subscribe(rig: &Rig, event: &str, url: &str) -> (u16, Value) {
    let headers = json!({"X-Api-Key": API, "Authorization": format!("Bearer {API}")});
    let wish = json!({"event": event, "url": url, "secret": API_SECRET, "headers": headers});
    call(rig, "POST", &format!("{BASE}/subscriptions"), wish).await
}

async fn insert(rig: &Rig, number: &str) {
    let sql = format!("INSERT INTO invoices (number, tenant_id) VALUES ('{number}', '{TENANT}')");
    rig.erp.run(&sql).await.unwrap();
}

/// So many requests of an invoice came with this header value.
async fn arrived(rig: &Rig, number: &str, value: &str, count: usize) {
    let number = format!("\"{number}\"");
    rig.inbox
        .until(&number, |inbox| {
            inbox.look(|all| {
                let fits = |request: &&tailhook_demo::receiver::Received| {
                    request.header("x-api-key") == value
                        && String::from_utf8_lossy(&request.body).contains(&number)
                };
                all.iter().filter(fits).count() >= count
            })
        })
        .await;
}

/// Everything that the API answers, and the metrics.
async fn answers(rig: &Rig) -> String {
    let (_, list) = call(rig, "GET", &format!("{BASE}/deliveries"), Value::Null).await;
    let (_, subscriptions) = call(rig, "GET", &format!("{BASE}/subscriptions"), Value::Null).await;
    let mut all = format!("{list}{subscriptions}");
    for (object, path) in [(&list, "deliveries"), (&subscriptions, "subscriptions")] {
        for id in object.as_array().unwrap().iter().filter_map(|one| one["id"].as_str()) {
            let (status, one) = call(rig, "GET", &format!("{BASE}/{path}/{id}"), Value::Null).await;
            assert_eq!(status, 200, "{one}");
            all.push_str(&one.to_string());
        }
    }
    for path in ["/healthz", "/readyz", "/status", "/metrics"] {
        all.push_str(&call(rig, "GET", path, Value::Null).await.1.to_string());
    }
    all
}

async fn rows_of_the_api(rig: &Rig) -> String {
    // the row that SQL wrote is the only one of its event
    let sql = "SELECT coalesce(string_agg(to_jsonb(t)::text, ' '), '') FROM tailhook.webhook_subscriptions t
               WHERE event <> 'invoice.created'";
    rig.erp.client().query_one(sql, &[]).await.unwrap().get(0)
}

/// A life with subscriptions of both kinds, deliveries and refusals; then everything is searched. What was found, and where.
async fn search(planted: Option<&str>) -> Vec<String> {
    let mut rig = Rig::new(RULES).await;
    rig.environment.push(("TAILHOOK_LOG", "debug".to_owned()));
    rig.environment.extend(planted.map(|fault| ("TAILHOOK_PLANTED", fault.to_owned())));
    rig.start(&[]);
    rig.ready().await;
    let mut answered = String::new();
    let hook = rig.hook.clone();
    for (event, url, status) in [
        ("*", hook.as_str(), 201),
        // the same again, nobody there, and a mistake
        ("*", hook.as_str(), 409),
        ("invoice.*", "https://127.0.0.1:1/nobody", 201),
        ("no event", hook.as_str(), 400),
    ] {
        let (found, answer) = subscribe(&rig, event, url).await;
        assert_eq!(found, status, "{answer}");
        answered.push_str(&answer.to_string());
    }
    let by_sql = format!(
        "INSERT INTO tailhook.webhook_subscriptions (tenant_id, event, url, secret, options) VALUES
         ('{TENANT}', 'invoice.created', '{hook}', '{SQL_SECRET}', '{{\"headers\": {{\"X-Api-Key\": \"{SQL}\"}}}}')"
    );
    rig.erp.run(&by_sql).await.unwrap();
    insert(&rig, "first").await;
    arrived(&rig, "first", API, 1).await;
    arrived(&rig, "first", SQL, 1).await;
    let (status, refused) = call(
        &rig,
        "POST",
        &format!("{BASE}/subscriptions"),
        json!({"event": "*", "url": hook, "headers": {"X-A": format!("{API}\n")}}),
    )
    .await;
    assert_eq!(status, 400);
    answered.push_str(&refused.to_string());
    answered.push_str(&answers(&rig).await);
    // a kill and an end: what the journal and what the index keeps
    rig.kill();
    rig.start(&[]);
    rig.ready().await;
    insert(&rig, "second").await;
    arrived(&rig, "second", API, 1).await;
    assert!(rig.stop().await.success());
    let all = canaries(&[API, SQL, API_SECRET, SQL_SECRET]);
    let by_the_api = canaries(&[API, API_SECRET]);
    [
        credentials::in_folder(&all, &rig.folder.path().join("data")),
        credentials::in_text(&all, "log", &rig.log()),
        credentials::in_text(&all, "answers", &answered),
        credentials::in_text(&by_the_api, "table", &rows_of_the_api(&rig).await),
    ]
    .concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credential_is_at_rest_or_shown() {
    assert_eq!(search(None).await, [""; 0]);
}

/// The same search finds what is not sealed: in the folder and in the table.
#[tokio::test(flavor = "multi_thread")]
#[cfg(debug_assertions)]
async fn headers_that_are_not_sealed_are_found() {
    let found = search(Some("clear-headers")).await;
    for (place, value) in
        [("data/journal-", API), ("data/journal-", SQL), ("data/index/", API), ("table: ", API)]
    {
        let so = |line: &String| line.contains(place) && line.contains(value);
        assert!(found.iter().any(so), "{value} in {place}: {found:#?}");
    }
    assert!(found.iter().all(|line| !line.contains("canary-secret-")), "{found:#?}");
}

fn in_data(rig: &Rig) -> Vec<String> {
    credentials::in_folder(&canaries(&[API, SQL]), &rig.folder.path().join("data"))
}

/// A folder and a table as an earlier version left them: headers in the clear, no mark of the upgrade.
async fn as_before(rig: &mut Rig) {
    rig.environment.push(("TAILHOOK_PLANTED", "clear-headers".to_owned()));
    rig.start(&[]);
    rig.ready().await;
    let hook = rig.hook.clone();
    assert_eq!(subscribe(rig, "*", &hook).await.0, 201);
    insert(rig, "before").await;
    arrived(rig, "before", API, 1).await;
    assert!(rig.stop().await.success());
    rig.environment.pop();
    fs::remove_file(rig.folder.path().join("data/sealed-fields")).unwrap();
    let clear = [in_data(rig), credentials::in_text(&canaries(&[API]), "table", &rows_of_the_api(rig).await)]
        .concat();
    for place in ["data/journal-", "data/index/", "table: "] {
        assert!(clear.iter().any(|line| line.contains(place)), "{place}: {clear:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(debug_assertions)]
async fn what_an_earlier_version_left_is_sealed_at_a_start_wherever_that_is_killed() {
    let mut rig = Rig::new(RULES).await;
    as_before(&mut rig).await;
    // what the upgrade passes: the mark of the index, the new file, its place, the new index, its end
    for point in [
        "disk.created:1",
        "disk.created:2",
        "disk.renamed:1",
        "rebuild.fresh:1",
        "rebuild.replayed:1",
        // by now the journal is sealed and the old index is gone: the mark of the upgrade
        "disk.created:1",
        // beside the work, when the new index is durable
        "rebuild.before-unmark:1",
    ] {
        let before = rig.log().len();
        rig.environment.push(("TAILHOOK_CRASH_AT", point.to_owned()));
        rig.start(&[]);
        while !rig.has_ended() {
            let late = rig.log()[before..].contains("listening on") && !point.starts_with("rebuild.before");
            assert!(!late, "{point} was not reached:\n{}", rig.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        rig.environment.pop();
        println!("{point}: {} places are still clear", in_data(&rig).len());
    }
    rig.start(&[]);
    rig.ready().await;
    assert_eq!(in_data(&rig), [""; 0], "once it is ready");
    assert_eq!(credentials::in_text(&canaries(&[API]), "table", &rows_of_the_api(&rig).await), [""; 0]);
    insert(&rig, "after").await;
    arrived(&rig, "after", API, 1).await;
    assert!(rig.stop().await.success());
    // an ordinary start does none of it again
    let before = rig.log().len();
    rig.start(&[]);
    rig.ready().await;
    let log = rig.log();
    assert!(
        !log[before..].contains("in the clear") && !log[before..].contains("rebuil"),
        "{}",
        &log[before..]
    );
    assert!(!log.contains("may not replace"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(debug_assertions)]
async fn a_table_that_the_role_may_not_write_is_one_warning_and_no_hindrance() {
    let mut rig = Rig::new(RULES).await;
    as_before(&mut rig).await;
    rig.erp.run("REVOKE UPDATE ON tailhook.webhook_subscriptions FROM tailhook").await.unwrap();
    rig.start(&[]);
    rig.ready().await;
    assert_eq!(rig.log().matches("may not replace").count(), 1, "{}", rig.log());
    assert!(rig.log().contains("GRANT SELECT, UPDATE ON tailhook.webhook_subscriptions"), "{}", rig.log());
    assert_eq!(in_data(&rig), [""; 0]);
    insert(&rig, "after").await;
    arrived(&rig, "after", API, 1).await;
    assert!(rig.stop().await.success());
    rig.erp.run("GRANT UPDATE ON tailhook.webhook_subscriptions TO tailhook").await.unwrap();
    rig.start(&[]);
    rig.ready().await;
    assert_eq!(credentials::in_text(&canaries(&[API]), "table", &rows_of_the_api(&rig).await), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(debug_assertions)]
async fn with_another_key_nothing_is_sealed_anew() {
    let mut rig = Rig::new(RULES).await;
    as_before(&mut rig).await;
    let clear = in_data(&rig);
    // base64 of 32 bytes that sealed nothing here
    rig.environment.push(("TAILHOOK_MASTER_KEY", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=".to_owned()));
    rig.start(&[]);
    assert_eq!(rig.ended().await.code(), Some(1));
    assert!(rig.log().contains("opens none of the secrets"), "{}", rig.log());
    assert_eq!(in_data(&rig), clear);
    rig.environment.pop();
    rig.start(&[]);
    rig.ready().await;
    assert_eq!(in_data(&rig), [""; 0]);
    insert(&rig, "after").await;
    arrived(&rig, "after", API, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_without_a_key_is_sealed_by_the_first_start_with_one() {
    let mut rig = Rig::new(RULES).await;
    rig.edit(|file| format!("[secrets]\ninsecure_plaintext = true\n{file}"));
    let all = canaries(&[API, API_SECRET]);
    let data = rig.folder.path().join("data");
    for life in 0..2 {
        rig.start(&[]);
        rig.ready().await;
        let hook = rig.hook.clone();
        assert_eq!(subscribe(&rig, "*", &hook).await.0, if life == 0 { 201 } else { 409 });
        insert(&rig, "clear").await;
        arrived(&rig, "clear", API, 1 + life).await;
        assert!(rig.stop().await.success());
        assert!(!credentials::in_folder(&all, &data).is_empty());
    }
    rig.edit(|file| file.replace("insecure_plaintext = true", "insecure_plaintext = false"));
    rig.start(&[]);
    rig.ready().await;
    assert_eq!(credentials::in_folder(&all, &data), [""; 0]);
    insert(&rig, "sealed").await;
    arrived(&rig, "sealed", API, 1).await;
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// The folder of another cluster's sidecar is a gap here; its credentials are sealed all the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_folder_of_format_0_is_sealed_by_a_start() {
    let mut rig = Rig::new(RULES).await;
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store/fixtures/format-0");
    let data = rig.folder.path().join("data");
    copy(&fixture.join("data"), &data);
    let key = fs::read_to_string(fixture.join("master.key")).unwrap();
    rig.environment.push(("TAILHOOK_MASTER_KEY", key));
    let early = canaries(&["canary-header-"]);
    assert!(!credentials::in_folder(&early, &data).is_empty());
    rig.start(&[]);
    while !rig.log().contains("--accept-gap=") {
        assert!(!rig.has_ended(), "{}", rig.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(rig.log().contains("are sealed"), "{}", rig.log());
    assert_eq!(credentials::in_folder(&early, &data), [""; 0]);
    rig.kill();
    let (status, text) = rig.tool(&["store", "verify"]);
    assert!(status.success() && text.contains("fine"), "{text}");
}
