//! What the catalog says of tables, with `to_jsonb` as the oracle of kinds.
use crate::cluster::Cluster;
use crate::migrate::session;
use tailhook::domain::{ReplicaIdentity, TypeKind};
use tailhook::postgres::TableName;
use tailhook::postgres::catalog::{Which, describe, tables};

#[tokio::test]
async fn columns_keys_and_kinds() {
    let cluster = Cluster::start();
    cluster.sql(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN euro AS numeric(12,2); CREATE DOMAIN euros AS euro[];
         CREATE DOMAIN deep AS euro; CREATE TYPE pair AS (a int, b text);
         CREATE TABLE t (b text, gone int, a int, flag bool NOT NULL, f float4, e euro, es euros, d deep, m mood, ms mood[], boxes box[],
            ts timestamp, tz timestamptz[], j json, jb jsonb, p pair, o oid, ov oidvector, by bytea, day date, v varchar(5), c char(3),
            i2 int2[], twice int GENERATED ALWAYS AS (a * 2) STORED, PRIMARY KEY (b, a));
         ALTER TABLE t DROP COLUMN gone; ALTER TABLE t REPLICA IDENTITY FULL; CREATE VIEW w AS SELECT 1 AS one",
    );
    let session = session(&cluster.url("postgres")).await;
    let t = describe(session.client(), Which::Name(&TableName::parse("t")), None).await.unwrap().unwrap();
    let names: Vec<&str> = t.columns.iter().map(|c| &*c.name).collect();
    assert_eq!(
        names,
        [
            "b", "a", "flag", "f", "e", "es", "d", "m", "ms", "boxes", "ts", "tz", "j", "jb", "p", "o", "ov",
            "by", "day", "v", "c", "i2"
        ]
    );
    assert_eq!((t.primary_key.as_slice(), t.replica_identity), ([0, 1].as_slice(), ReplicaIdentity::Full));
    let kind = |name: &str| t.columns[t.position(name).unwrap()].kind.clone();
    let array = |kind, delimiter| TypeKind::Array(Box::new(kind), delimiter);
    for (name, expected) in [
        ("b", TypeKind::Text),
        ("a", TypeKind::Integer),
        ("flag", TypeKind::Bool),
        ("f", TypeKind::Float),
        ("e", TypeKind::Numeric),
        ("es", array(TypeKind::Numeric, b',')),
        ("d", TypeKind::Numeric),
        ("m", TypeKind::Text),
        ("ms", array(TypeKind::Text, b',')),
        ("boxes", array(TypeKind::Text, b';')),
        ("ts", TypeKind::Timestamp),
        ("tz", array(TypeKind::TimestampTz, b',')),
        ("j", TypeKind::Json),
        ("jb", TypeKind::Json),
        ("p", TypeKind::Other),
        ("by", TypeKind::Text),
        ("day", TypeKind::Text),
        ("i2", array(TypeKind::Integer, b',')),
    ] {
        assert_eq!(kind(name), expected, "{name}");
    }
    let oid_is_text = cluster.sql("SELECT jsonb_typeof(to_jsonb(1::oid))") == "string";
    assert_eq!(kind("o") == TypeKind::Text, oid_is_text);
    let flag = &t.columns[t.position("flag").unwrap()];
    assert_eq!((flag.type_name.as_str(), flag.not_null), ("boolean", true));
    assert_eq!(t.columns[t.position("v").unwrap()].type_name, "character varying");
    let again = describe(session.client(), Which::Oid(t.oid), None).await.unwrap().unwrap();
    assert_eq!(again, t);
    assert_eq!(describe(session.client(), Which::Oid(1), None).await.unwrap(), None);
    let names = [TableName::parse("t"), TableName::parse("absent"), TableName::parse("w")];
    assert_eq!(tables(session.client(), &names, None).await.unwrap().len(), 2);
    // a column list, by which only some are published
    cluster.sql("CREATE PUBLICATION partly FOR TABLE t (b, a, flag)");
    cluster.sql("ALTER TABLE t REPLICA IDENTITY DEFAULT");
    let some = describe(session.client(), Which::Oid(t.oid), Some("partly")).await.unwrap().unwrap();
    assert_eq!((some.columns.len(), some.primary_key.len()), (3, 2));
}
