//! Migrations, publication, roles, and what is refused.
use crate::cluster::Cluster;
use tailhook::postgres::migrate::{MigrationPlan, migrate, script};
use tailhook::postgres::publication::Wanted;
use tailhook::postgres::session::Patience;
use tailhook::postgres::{PgError, Session, TableName, publication};

pub(crate) fn plan(tables: &[&str]) -> MigrationPlan {
    MigrationPlan {
        schema: "tailhook".into(),
        publication: "tailhook".into(),
        tables: tables.iter().map(|t| TableName::parse(t).into()).collect(),
        streaming_role: None,
        api_role: None,
    }
}

pub(crate) async fn session(url: &str) -> Session {
    Session::connect(url, Patience::ADMIN).await.unwrap()
}

#[tokio::test]
async fn is_idempotent_and_publishes_only_what_is_needed() {
    let cluster = Cluster::start();
    cluster.sql("CREATE TABLE invoices (id uuid PRIMARY KEY); CREATE TABLE \"Odd.Name\" (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY)");
    cluster.sql("CREATE ROLE streaming LOGIN REPLICATION; CREATE ROLE api LOGIN");
    let mut dba = session(&cluster.url("postgres")).await;
    let mut plan = plan(&["public.invoices", "public.Odd.Name", "public.absent"]);
    (plan.streaming_role, plan.api_role) = (Some("streaming".into()), Some("api".into()));
    let printed = script(dba.client(), &plan).await.unwrap();
    assert_eq!(printed.missing, [TableName::parse("public.absent")]);
    let done = migrate(&mut dba, &plan).await.unwrap();
    assert_eq!(done, printed, "what is printed is what is done");
    assert_eq!(migrate(&mut dba, &plan).await.unwrap().sql, Vec::<String>::new());
    let members = "SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = 'tailhook' ORDER BY 1";
    assert_eq!(cluster.sql(members), "public.Odd.Name\npublic.invoices\ntailhook.webhook_subscriptions");
    assert_eq!(
        cluster.sql(
            "SELECT pubname, puballtables, pubupdate, pubtruncate, pubviaroot FROM pg_publication ORDER BY 1"
        ),
        "tailhook|f|t|t|t\ntailhook_insert|f|f|f|t"
    );
    // the roles' rights: streaming sees every row, the API only its tenant's
    cluster.sql("INSERT INTO tailhook.webhook_subscriptions (tenant_id, event, url) VALUES ('a', 'x.y', 'https://a.example/'), ('b', 'x.y', 'https://a.example/')");
    let count = "SELECT count(*) FROM tailhook.webhook_subscriptions";
    let seen = |role: &str, set: &str| cluster.sql(&format!("SET ROLE {role}; {set}; {count}"));
    assert_eq!(seen("streaming", "SELECT"), "2");
    assert_eq!(seen("api", "SET app.tenant_id = ''"), "0");
    assert_eq!(seen("api", "SET app.tenant_id = 'a'"), "1");
    assert_eq!(seen("api", "SET app.tenant_id = 'a'; SET app.current_tenant_id = 'nobody'"), "0");
    assert_eq!(seen("api", "SET app.tenant_id = 'a'; SET app.current_tenant_id = ''"), "1");
    // a publication that is wrong is mended, what is too much is reported
    cluster.sql("ALTER PUBLICATION tailhook DROP TABLE invoices; ALTER PUBLICATION tailhook ADD TABLE other; ALTER PUBLICATION tailhook SET (publish = 'insert')");
    let mended = migrate(&mut dba, &plan).await.unwrap();
    let superfluous: Vec<String> = mended.superfluous.iter().map(|other| other.table.to_string()).collect();
    assert_eq!((mended.sql.len(), superfluous), (2, vec!["public.other".to_string()]));
    assert_eq!(
        cluster.sql(members),
        "public.Odd.Name\npublic.invoices\npublic.other\ntailhook.webhook_subscriptions"
    );
}

#[tokio::test]
async fn what_would_do_harm_is_refused_with_the_remedy() {
    let cluster = Cluster::start();
    cluster.sql(
        "CREATE TABLE bare (id int); CREATE TABLE nothing (id int PRIMARY KEY); ALTER TABLE nothing REPLICA IDENTITY NOTHING;
         CREATE TABLE uniq (id int NOT NULL UNIQUE); CREATE UNLOGGED TABLE loose (id int PRIMARY KEY); CREATE VIEW seen AS SELECT 1 AS id;
         CREATE TABLE parted (id int NOT NULL, day date NOT NULL) PARTITION BY RANGE (day);
         CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
         CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE);
         CREATE TABLE fine (id int); ALTER TABLE fine REPLICA IDENTITY FULL;
         CREATE TABLE fine_parted (id int NOT NULL, day date NOT NULL, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
         CREATE TABLE fine_parted_1 PARTITION OF fine_parted FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')",
    );
    let mut dba = session(&cluster.url("postgres")).await;
    let all = ["bare", "nothing", "uniq", "loose", "seen", "parted", "deferred", "fine", "fine_parted"];
    let error = migrate(&mut dba, &plan(&all)).await.unwrap_err();
    let PgError::Setup(text) = error else { panic!("{error:?}") };
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 7, "{text}");
    for (table, remedy) in [
        ("public.bare ", "ALTER TABLE public.bare REPLICA IDENTITY FULL;"),
        ("public.nothing ", "ALTER TABLE public.nothing REPLICA IDENTITY DEFAULT;"),
        ("public.uniq ", "ALTER TABLE public.uniq REPLICA IDENTITY USING INDEX uniq_id_key;"),
        ("public.loose ", "ALTER TABLE public.loose SET LOGGED;"),
        ("public.seen ", "map the table"),
        ("public.parted ", "ALTER TABLE public.parted ADD PRIMARY KEY (…);"),
        ("public.deferred ", "REPLICA IDENTITY"),
    ] {
        assert!(lines.iter().any(|line| line.starts_with(table) && line.contains(remedy)), "{table}: {text}");
    }
    assert_eq!(
        cluster.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'tailhook'"),
        "0",
        "all or nothing"
    );
    for remedy in
        lines.iter().filter(|l| l.contains("ALTER TABLE")).filter_map(|l| l.split("remedy: ").nth(1))
    {
        cluster.sql(&remedy.replace('…', "id, day"));
    }
    let mended: Vec<&str> = all.iter().copied().filter(|t| *t != "seen").collect();
    migrate(&mut dba, &plan(&mended)).await.unwrap();
    cluster.sql("INSERT INTO deferred VALUES (1); INSERT INTO parted VALUES (1, '2026-02-02')");
    for table in mended {
        cluster.sql(&format!("UPDATE {table} SET id = id + 1; DELETE FROM {table}"));
    }
}

#[tokio::test]
async fn others_tables_roles_without_rights_and_all_tables_are_refused() {
    let cluster = Cluster::start();
    cluster.sql("CREATE ROLE weak LOGIN; CREATE TABLE invoices (id int PRIMARY KEY); CREATE TABLE webhook_subscriptions (id int)");
    let mut weak = session(&cluster.url("weak")).await;
    let error = migrate(&mut weak, &plan(&["invoices"])).await.unwrap_err();
    assert!(matches!(&error, PgError::Privilege(why) if why.contains("--url")), "{error:?}");
    let mut dba = session(&cluster.url("postgres")).await;
    let old = MigrationPlan { schema: "public".into(), ..plan(&["invoices"]) };
    let error = migrate(&mut dba, &old).await.unwrap_err();
    assert!(matches!(&error, PgError::NotYet(why) if why.contains("webhook_subscriptions")), "{error:?}");
    let tables = [TableName::parse("invoices").into(), TableName::parse("absent").into()];
    let error = publication::ensure(&mut weak, "tailhook", &tables).await.unwrap_err();
    assert!(
        matches!(&error, PgError::Privilege(why) if why.contains("CREATE PUBLICATION tailhook FOR TABLE ONLY public.invoices WITH")),
        "{error:?}"
    );
    cluster.sql("CREATE PUBLICATION tailhook FOR ALL TABLES");
    let error = migrate(&mut dba, &plan(&["invoices"])).await.unwrap_err();
    assert!(matches!(&error, PgError::Setup(why) if why.contains("FOR ALL TABLES")), "{error:?}");
    cluster.sql("DROP PUBLICATION tailhook; CREATE PUBLICATION tailhook FOR TABLE invoices WHERE (id > 5)");
    let error = migrate(&mut dba, &plan(&["invoices"])).await.unwrap_err();
    assert!(matches!(&error, PgError::Setup(why) if why.contains("filters")), "{error:?}");
    let role = MigrationPlan { streaming_role: Some("absent".into()), ..plan(&[]) };
    let error = migrate(&mut dba, &role).await.unwrap_err();
    assert!(error.to_string().contains("CREATE ROLE absent"), "{error}");
    // two at once
    cluster.sql("DROP PUBLICATION tailhook");
    let mut second = session(&cluster.url("postgres")).await;
    let invoices = plan(&["invoices"]);
    let (one, two) = tokio::join!(migrate(&mut dba, &invoices), migrate(&mut second, &invoices));
    assert_eq!([one.unwrap().sql.is_empty(), two.unwrap().sql.is_empty()].iter().filter(|e| **e).count(), 1);
    cluster.sql("INSERT INTO tailhook.tailhook_migrations (version, name) VALUES (99, 'later')");
    let error = migrate(&mut dba, &invoices).await.unwrap_err();
    assert!(error.to_string().contains("newer"), "{error}");
}

/// What others put into our publication, and what an earlier version did.
#[tokio::test]
async fn what_harms_and_nobody_needs_leaves_the_publication() {
    let cluster = Cluster::start();
    cluster.sql(
        "CREATE TABLE docs (id int PRIMARY KEY, status text); CREATE TABLE docs_archive () INHERITS (docs);
         CREATE TABLE bare (id int); CREATE TABLE harmless (id int PRIMARY KEY); CREATE SCHEMA theirs; CREATE TABLE theirs.bare (id int);
         INSERT INTO docs VALUES (1); INSERT INTO docs_archive VALUES (2); INSERT INTO bare VALUES (1); INSERT INTO theirs.bare VALUES (1)",
    );
    let mut dba = session(&cluster.url("postgres")).await;
    let plan = plan(&["docs"]);
    migrate(&mut dba, &plan).await.unwrap();
    // by inheritance, by name, by schema
    cluster.sql("ALTER PUBLICATION tailhook ADD TABLE docs_archive, bare, harmless, TABLES IN SCHEMA theirs");
    let mended = migrate(&mut dba, &plan).await.unwrap();
    assert_eq!(
        mended.sql,
        [
            "ALTER PUBLICATION tailhook DROP TABLES IN SCHEMA theirs;",
            "ALTER PUBLICATION tailhook DROP TABLE ONLY public.bare;",
            "ALTER PUBLICATION tailhook DROP TABLE ONLY public.docs_archive;",
        ]
    );
    assert_eq!(mended.superfluous.len(), 1, "{:?}", mended.superfluous);
    cluster.sql("UPDATE docs SET status = 'x'; UPDATE bare SET id = 2; UPDATE theirs.bare SET id = 2; DELETE FROM docs");
    assert_eq!(migrate(&mut dba, &plan).await.unwrap().sql, Vec::<String>::new());
    // a mapped table that lost its key is refused, and the line says how to stop the harm
    cluster.sql("ALTER TABLE docs DROP CONSTRAINT docs_pkey");
    let error = migrate(&mut dba, &plan).await.unwrap_err().to_string();
    for part in [
        "public.docs has no primary key",
        "it is published",
        "FULL",
        "at once: ALTER PUBLICATION tailhook DROP TABLE ONLY public.docs;",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    // a column list without the key, and a list under FULL
    cluster.sql("ALTER TABLE docs ADD PRIMARY KEY (id); ALTER PUBLICATION tailhook DROP TABLE ONLY docs; ALTER PUBLICATION tailhook ADD TABLE ONLY docs (status)");
    let error = migrate(&mut dba, &plan).await.unwrap_err().to_string();
    assert!(error.contains("lists columns of public.docs"), "{error}");
    let remedy = error.split("remedy: ").nth(1).and_then(|sql| sql.split(" --").next()).unwrap();
    cluster.sql(remedy);
    assert_eq!(migrate(&mut dba, &plan).await.unwrap().sql, Vec::<String>::new());
}

/// A table without a key, of which only inserts are read, moves between the two publications as its rules and key change.
#[tokio::test]
async fn a_table_without_a_key_goes_where_only_inserts_are_published() {
    let cluster = Cluster::start();
    cluster.sql("CREATE TABLE log (line text); INSERT INTO log VALUES ('a')");
    let mut dba = session(&cluster.url("postgres")).await;
    let inserts = MigrationPlan {
        tables: vec![Wanted { insert_only: true, ..TableName::parse("log").into() }],
        ..plan(&[])
    };
    migrate(&mut dba, &inserts).await.unwrap();
    let members = "SELECT pubname, tablename FROM pg_publication_tables WHERE tablename = 'log'";
    assert_eq!(cluster.sql(members), "tailhook_insert|log");
    cluster.sql("UPDATE log SET line = 'b'; DELETE FROM log");
    let error = migrate(&mut dba, &plan(&["log"])).await.unwrap_err().to_string();
    assert!(error.contains("public.log has no primary key"), "{error}");
    cluster.sql("ALTER TABLE log ADD COLUMN id int PRIMARY KEY");
    migrate(&mut dba, &plan(&["log"])).await.unwrap();
    assert_eq!(cluster.sql(members), "tailhook|log");
    cluster.sql("ALTER TABLE log DROP COLUMN id");
    migrate(&mut dba, &inserts).await.unwrap();
    assert_eq!(cluster.sql(members), "tailhook_insert|log");
    cluster.sql("INSERT INTO log VALUES ('a'); UPDATE log SET line = 'b'; DELETE FROM log");
    // somebody widens it
    cluster.sql("ALTER PUBLICATION tailhook_insert SET (publish = 'insert, update')");
    assert_eq!(
        migrate(&mut dba, &inserts).await.unwrap().sql,
        ["ALTER PUBLICATION tailhook_insert SET (publish = 'insert', publish_via_partition_root = true);"]
    );
}
