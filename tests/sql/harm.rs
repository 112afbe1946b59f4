//! Do no harm (SPEC 5.9): whatever the tables are like, no write of the ERP fails after `migrate`. The oracle is Postgres
//! itself: what fails under a publication that nobody judged must have been refused.
use crate::cluster::Cluster;
use crate::migrate::{plan, session};
use std::fmt::Write as _;
use tailhook::postgres::migrate::{MigrationPlan, migrate};
use tailhook::postgres::publication::Wanted;
use tailhook::postgres::{PgError, Session, TableName};
use tokio_postgres::Client;

const SHAPES: [&str; 5] = ["plain", "partitioned", "inherited", "generated", "virtual"];
const IDENTITIES: [&str; 4] = ["default", "full", "index", "nothing"];
const KEYS: [&str; 3] = ["keyed", "keyless", "generated key"];
const RULES: [&str; 3] = ["insert", "update", "delete"];

/// One table of the ERP, in a schema of its own.
struct Case {
    shape: &'static str,
    identity: &'static str,
    key: &'static str,
    schema: String,
}

fn cases(version: i32) -> Vec<Case> {
    let mut cases = Vec::new();
    for shape in SHAPES {
        for identity in IDENTITIES {
            for key in KEYS {
                let possible = match (shape, key) {
                    ("virtual", _) if version < 180_000 => false,
                    // only a stored column can be a key, and no key is partitioned by it
                    (_, "generated key") => shape == "generated",
                    _ => true,
                };
                if possible {
                    let schema = format!("case_{}", cases.len());
                    cases.push(Case { shape, identity, key, schema });
                }
            }
        }
    }
    cases
}

impl Case {
    /// The tables as the ERP made them.
    fn sql(&self) -> String {
        let Self { shape, identity, key, schema } = self;
        let generated = match *shape {
            "generated" => ", twice int GENERATED ALWAYS AS (n * 2) STORED NOT NULL",
            "virtual" => ", twice int GENERATED ALWAYS AS (n * 2) VIRTUAL",
            _ => "",
        };
        let partitioned = *shape == "partitioned";
        let by = if partitioned { " PARTITION BY RANGE (id)" } else { "" };
        let mut sql = format!(
            "CREATE SCHEMA {schema}; SET search_path = {schema};
             CREATE TABLE docs (id int NOT NULL, n int NOT NULL, status text{generated}){by};"
        );
        if partitioned {
            sql.push_str("CREATE TABLE docs_1 PARTITION OF docs FOR VALUES FROM (0) TO (10);");
        }
        match *key {
            "keyed" => sql.push_str("ALTER TABLE docs ADD PRIMARY KEY (id);"),
            "generated key" => sql.push_str("ALTER TABLE docs ADD PRIMARY KEY (twice);"),
            _ => {}
        }
        if *shape == "inherited" {
            sql.push_str("CREATE TABLE docs_archive () INHERITS (docs);");
        }
        let mut tables = vec!["docs"];
        tables.extend(partitioned.then_some("docs_1"));
        if *identity == "index" {
            let column = if *key == "generated key" { "twice" } else { "id" };
            write!(sql, "CREATE UNIQUE INDEX docs_unique ON docs ({column});").unwrap();
        }
        for table in tables {
            let identity = match *identity {
                "index" if table == "docs_1" => "USING INDEX docs_1_id_idx".to_owned(),
                "index" => "USING INDEX docs_unique".to_owned(),
                other => other.to_uppercase(),
            };
            write!(sql, "ALTER TABLE {table} REPLICA IDENTITY {identity};").unwrap();
        }
        sql + "SET search_path = pg_catalog, pg_temp"
    }

    /// What the ERP does every day; a new partition too.
    fn writes(&self) -> Vec<String> {
        let schema = &self.schema;
        let mut writes = vec![
            match self.schema.as_str() {
                "odd_6" => format!("INSERT INTO {schema}.docs VALUES (1, 1, 1), (2, 2, 2)"),
                _ => format!("INSERT INTO {schema}.docs (id, n) VALUES (1, 1), (2, 2)"),
            },
            format!("UPDATE {schema}.docs SET status = 'x'"),
        ];
        match self.shape {
            "partitioned" => writes.extend([
                format!(
                    "CREATE TABLE {schema}.docs_2 PARTITION OF {schema}.docs FOR VALUES FROM (10) TO (20)"
                ),
                format!("INSERT INTO {schema}.docs (id, n) VALUES (11, 11)"),
                format!("UPDATE {schema}.docs SET status = 'y'"),
                format!("UPDATE {schema}.docs SET id = 12 WHERE id = 1"),
            ]),
            "inherited" => writes.extend([
                format!("INSERT INTO {schema}.docs_archive (id, n) VALUES (3, 3)"),
                format!("UPDATE {schema}.docs SET status = 'y'"),
            ]),
            "odd" => writes[1] = format!("UPDATE {schema}.docs SET id = id + 3"),
            _ => {}
        }
        writes.push(format!(
            "WITH gone AS (DELETE FROM {schema}.docs WHERE n = 1 RETURNING id) SELECT FROM gone"
        ));
        writes.push(format!("DELETE FROM {schema}.docs"));
        writes
    }

    /// Does a write fail? All of them are undone.
    async fn harmed(&self, client: &Client, publish: Option<&str>) -> Option<String> {
        client.batch_execute("BEGIN").await.unwrap();
        if let Some(publish) = publish {
            client.batch_execute(publish).await.unwrap();
        }
        let mut failed = None;
        for write in self.writes() {
            if let Err(error) = client.batch_execute(&write).await {
                let why = error.as_db_error().map(ToString::to_string);
                failed = Some(format!("{write}: {}", why.unwrap_or_default()));
                break;
            }
        }
        client.batch_execute("ROLLBACK").await.unwrap();
        failed
    }

    fn plan(&self, rule: &str) -> MigrationPlan {
        let table = TableName::new(&self.schema, "docs");
        let publication = format!("{}_{rule}", self.schema);
        MigrationPlan {
            publication,
            tables: vec![Wanted { table, insert_only: rule == "insert" }],
            ..plan(&[])
        }
    }
}

async fn published(client: &Client, plan: &MigrationPlan, name: &str) -> Vec<String> {
    let sql =
        "SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = $1 ORDER BY 1";
    let rows = client.query(sql, &[&format!("{}{name}", plan.publication)]).await.unwrap();
    rows.iter().map(|row| row.get(0)).filter(|name: &String| !name.starts_with("tailhook.")).collect()
}

/// Every cell on one server; gives how many were published whole, for inserts only, and refused.
async fn matrix(cluster: &Cluster) -> [usize; 3] {
    let mut dba = session(&cluster.url("postgres")).await;
    let version = dba.version().await.unwrap();
    migrate(&mut dba, &plan(&[])).await.unwrap();
    let mut counts = [0; 3];
    for case in cases(version) {
        dba.client().batch_execute(&case.sql()).await.unwrap();
        let unjudged = format!(
            "CREATE PUBLICATION unjudged FOR TABLE ONLY {}.docs WITH (publish_via_partition_root = true)",
            case.schema
        );
        let harmful = case.harmed(dba.client(), Some(&unjudged)).await;
        assert_eq!(case.harmed(dba.client(), None).await, None, "the ERP's own writes work");
        for rule in RULES {
            let cell = format!("{} {} {} on {rule}, server {version}", case.shape, case.identity, case.key);
            let outcome = cell_of(&mut dba, &case, rule, harmful.is_some(), &cell).await;
            counts[outcome] += 1;
        }
    }
    counts
}

async fn cell_of(dba: &mut Session, case: &Case, rule: &str, harmful: bool, cell: &str) -> usize {
    let plan = case.plan(rule);
    let outcome = migrate(dba, &plan).await;
    let harmed = case.harmed(dba.client(), None).await;
    assert_eq!(harmed, None, "{cell}: a write of the ERP fails after migrate");
    let (whole, inserts) =
        (published(dba.client(), &plan, "").await, published(dba.client(), &plan, "_insert").await);
    let table = vec![format!("{}.docs", case.schema)];
    let outcome = match outcome {
        Ok(_) if whole == table && inserts.is_empty() => 0,
        Ok(_) if inserts == table && whole.is_empty() => 1,
        Err(PgError::Setup(why)) if whole.is_empty() && inserts.is_empty() => {
            assert!(why.contains("; remedy: "), "{cell}: {why}");
            2
        }
        other => panic!("{cell}: {other:?} {whole:?} {inserts:?}"),
    };
    let wanted = match (harmful, rule) {
        (false, _) => 0,
        (true, "insert") => 1,
        (true, _) => 2,
    };
    assert_eq!(outcome, wanted, "{cell}: harmful {harmful}");
    let drop = format!("DROP PUBLICATION IF EXISTS {0}, {0}_insert", plan.publication);
    dba.client().batch_execute(&drop).await.unwrap();
    outcome
}

#[tokio::test]
async fn no_cell_is_published_and_fails() {
    judged(&Cluster::start(), "the installed server").await;
}

/// `MAJORS=14,16,17` asks others.
#[tokio::test]
async fn no_cell_is_published_and_fails_on_18() {
    let majors = std::env::var("MAJORS").unwrap_or_else(|_| "18".to_owned());
    for major in majors.split(',').map(|major| major.parse().expect("a number")) {
        match Cluster::of_version(major) {
            Ok(cluster) => judged(&cluster, &format!("server {major}")).await,
            Err(why) => eprintln!("SKIPPED, NOT TESTED: Postgres {major}: {why}"),
        }
    }
}

async fn judged(cluster: &Cluster, server: &str) {
    let [whole, inserts, refused] = matrix(cluster).await;
    println!("{server}: {whole} published, {inserts} for inserts only, {refused} refused");
    assert!(whole > 20 && inserts > 10 && refused > 20);
    odd(cluster).await;
    stored(cluster).await;
}

/// Where the publication sends stored generated columns (18+), they may be part of the identity.
async fn stored(cluster: &Cluster) {
    let mut dba = session(&cluster.url("postgres")).await;
    if dba.version().await.unwrap() < 180_000 {
        return;
    }
    let case = Case { shape: "generated", identity: "full", key: "keyless", schema: "stored".to_owned() };
    dba.client().batch_execute(&case.sql()).await.unwrap();
    let plan = case.plan("update");
    assert!(migrate(&mut dba, &plan).await.is_err());
    let made = format!("CREATE PUBLICATION {} WITH (publish_generated_columns = stored)", plan.publication);
    dba.client().batch_execute(&made).await.unwrap();
    migrate(&mut dba, &plan).await.unwrap();
    assert_eq!(published(dba.client(), &plan, "").await, ["stored.docs"]);
    assert_eq!(case.harmed(dba.client(), None).await, None);
}

/// Tables after public reports: how they were made, and writes that some publications break.
const ODD: [(&str, &str); 11] = [
    (
        "sub-partitions, the deepest without an identity",
        "CREATE TABLE docs (id int, n int, PRIMARY KEY (id, n)) PARTITION BY RANGE (id);
         CREATE TABLE docs_1 PARTITION OF docs FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (n);
         CREATE TABLE docs_1_1 PARTITION OF docs_1 FOR VALUES FROM (0) TO (10); ALTER TABLE docs_1_1 REPLICA IDENTITY NOTHING",
    ),
    (
        "an attached table with an identity of its own",
        "CREATE TABLE docs (id int PRIMARY KEY, n int) PARTITION BY RANGE (id); CREATE TABLE docs_1 (id int NOT NULL, n int);
         ALTER TABLE docs_1 REPLICA IDENTITY FULL; ALTER TABLE docs ATTACH PARTITION docs_1 FOR VALUES FROM (0) TO (10)",
    ),
    ("a key that may be checked late", "CREATE TABLE docs (id int PRIMARY KEY DEFERRABLE, n int)"),
    (
        "a unique index that no longer is valid",
        "CREATE TABLE docs (id int NOT NULL, n int); CREATE UNIQUE INDEX ix ON docs (id); ALTER TABLE docs REPLICA IDENTITY USING INDEX ix;
         DROP INDEX ix",
    ),
    (
        "only unique indexes that cannot be an identity",
        "CREATE TABLE docs (id int NOT NULL, n int); CREATE UNIQUE INDEX a ON docs (id) WHERE n > 0; CREATE UNIQUE INDEX b ON docs ((id + 1));
         CREATE UNIQUE INDEX c ON docs (n)",
    ),
    ("a key that includes more", "CREATE TABLE docs (id int, n int, PRIMARY KEY (id) INCLUDE (n))"),
    (
        "odd names",
        "CREATE TABLE docs (id int, n int, \"Select \"\"x\"\"\" int NOT NULL); CREATE UNIQUE INDEX \"Un I\" ON docs (\"Select \"\"x\"\"\")",
    ),
    ("an inheritor that is a table of its own", "CREATE TABLE base (id int, n int); CREATE TABLE docs () INHERITS (base)"),
    (
        "a child that is deleted with it",
        "CREATE TABLE docs (id int PRIMARY KEY, n int); CREATE TABLE lines (doc int REFERENCES docs ON DELETE CASCADE)",
    ),
    (
        "a generated column beside FULL and a key",
        "CREATE TABLE docs (id int PRIMARY KEY, n int, m int GENERATED ALWAYS AS (n + 1) STORED); ALTER TABLE docs REPLICA IDENTITY FULL",
    ),
    ("a column that was dropped and made anew", "CREATE TABLE docs (id int, n int); ALTER TABLE docs DROP COLUMN n, ADD COLUMN n int"),
];

async fn odd(cluster: &Cluster) {
    let mut dba = session(&cluster.url("postgres")).await;
    for (number, (what, tables)) in ODD.iter().enumerate() {
        let schema = format!("odd_{number}");
        let sql = format!(
            "CREATE SCHEMA {schema}; SET search_path = {schema}; {tables}; SET search_path = pg_catalog, pg_temp"
        );
        dba.client().batch_execute(&sql).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let case = Case { shape: "odd", identity: "", key: "", schema };
        let unjudged = format!(
            "CREATE PUBLICATION unjudged FOR TABLE ONLY {}.docs WITH (publish_via_partition_root = true)",
            case.schema
        );
        let harmful = case.harmed(dba.client(), Some(&unjudged)).await.is_some();
        for rule in RULES {
            cell_of(&mut dba, &case, rule, harmful, what).await;
        }
        if !harmful {
            continue;
        }
        // what is proposed mends it
        let plan = case.plan("update");
        let why = migrate(&mut dba, &plan).await.unwrap_err().to_string();
        for line in why.lines() {
            let remedy = line.split("remedy: ").nth(1).unwrap().replace('…', "id");
            dba.client()
                .batch_execute(&remedy)
                .await
                .unwrap_or_else(|error| panic!("{what}: {remedy}: {error:?}"));
        }
        cell_of(&mut dba, &case, "update", false, what).await;
    }
}

/// The matrix must be able to fail: without the judgement a cell is published and a write fails.
#[test]
fn the_judgement_left_out_is_caught() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["harm::no_cell_is_published_and_fails", "--exact", "--nocapture"])
        .env("TAILHOOK_PLANTED", "publish-unjudged")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("a write of the ERP fails after migrate"), "{text}");
}
