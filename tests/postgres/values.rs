//! `to_jsonb` is the oracle: every value of every type, read from a stream, must be rendered byte for byte as the server
//! renders it.
use crate::cluster::Cluster;
use crate::follower::{Follower, source};
use std::fmt::Write as _;
use std::sync::Arc;
use tailhook::domain::Cell;

/// A type, and the SQL of some of its values.
const TYPES: &[(&str, &[&str])] = &[
    ("boolean", &["true", "false"]),
    ("smallint", &["-32768", "0", "32767"]),
    ("integer", &["-2147483648", "7"]),
    ("bigint", &["-9223372036854775808", "9223372036854775807"]),
    (
        "real",
        &["0", "-0", "1.5", "1e-7", "3.4e38", "1e10", "123456789", "'NaN'", "'Infinity'", "'-Infinity'"],
    ),
    (
        "double precision",
        &[
            "0",
            "'-0'",
            "0.1",
            "1e15",
            "1e16",
            "1.5e300",
            "-2.5e-300",
            "5e-324",
            "1.7976931348623157e308",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "123456.789",
        ],
    ),
    (
        "numeric",
        &[
            "0",
            "0.00",
            "-0.0",
            "1.10",
            "-12345678901234567890.123456789012345678901234567890",
            "1e-20",
            "1e40",
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "0.000001",
        ],
    ),
    ("numeric(12,2)", &["0", "19.9", "-1234567890.12"]),
    (
        "text",
        &[
            "''",
            "'plain'",
            "E'\"quoted\" \\\\ / \\b\\f\\n\\r\\t\\x01\\x1f\\x7f'",
            "'žluťoučký 😀 \u{2028}'",
            "'null'",
        ],
    ),
    ("varchar(20)", &["'a'"]),
    ("char(5)", &["'ab'"]),
    ("name", &["'ab'"]),
    ("\"char\"", &["'a'"]),
    ("uuid", &["'0192F0C1-0000-7000-8000-00000000000a'"]),
    ("date", &["'2026-02-14'", "'0044-03-15 BC'", "'12026-01-01'", "'infinity'", "'-infinity'"]),
    ("time", &["'10:30'", "'23:59:59.999999'"]),
    ("timetz", &["'10:30+05:30'", "'10:30-03'"]),
    ("interval", &["'1 year 2 mons 3 days 04:05:06.789'", "'-1 day'"]),
    (
        "timestamp",
        &[
            "'2026-02-14 10:30'",
            "'2026-02-14 10:30:00.123456'",
            "'2026-02-14 10:30:00.1'",
            "'0044-03-15 12:00 BC'",
            "'12026-01-01'",
            "'infinity'",
            "'-infinity'",
        ],
    ),
    (
        "timestamptz",
        &[
            "'2026-02-14 10:30+05:30'",
            "'2026-02-14 10:30:00.123456Z'",
            "'0044-03-15 12:00Z BC'",
            "'1800-01-01 00:00 Europe/Amsterdam'",
            "'infinity'",
            "'-infinity'",
        ],
    ),
    ("bytea", &["'\\xdeadbeef'", "''"]),
    (
        "json",
        &[
            "'{\"b\": 1 , \"aa\":[1.10, 1e2,-0.0] ,\"a\":null,\"b\":2}'",
            "'\"\\u00e9\\ud83d\\ude00\\/\"'",
            "' [ ] '",
            "'{}'",
            "'{\"\": {\"z\":{}, \"y\":[[]]}}'",
            "'1E-7'",
            "'\"\\u007f\\u001f\"'",
        ],
    ),
    (
        "jsonb",
        &[
            "'{\"b\": 1 , \"aa\":[1.10, 1e2,-0.0] ,\"a\":null}'",
            "'\"x\"'",
            "'true'",
            "'[1, {\"$serde_json::private::Number\": \"1\"}]'",
        ],
    ),
    ("inet", &["'10.0.0.1/8'", "'::1'"]),
    ("oid", &["'42'"]),
    ("money", &["'12.50'"]),
    ("bit(4)", &["B'1010'"]),
    ("point", &["'(1,2.5)'"]),
    ("box", &["'(1,1),(0,0)'"]),
    ("int4range", &["'[1,5)'", "'empty'"]),
    ("tsvector", &["'a fat cat'"]),
    ("xml", &["'<a>\"b\"</a>'"]),
    (
        "integer[]",
        &["'{}'", "'{1,NULL,-3}'", "'{{1,2},{3,4}}'", "'[0:1]={1,2}'", "'[-1:0][2:3]={{1,2},{3,4}}'"],
    ),
    ("text[]", &["ARRAY['a,b', 'c\"d\\e', NULL, 'NULL', '', '{x}', E'\\n', ' ']", "'{{a},{b}}'"]),
    ("boolean[]", &["'{t,f,NULL}'"]),
    ("double precision[]", &["'{1e20,NaN,-0,Infinity}'"]),
    ("numeric[]", &["'{1.10,NaN}'"]),
    ("timestamp[]", &["'{2026-02-14 10:30,infinity}'"]),
    ("timestamptz[]", &["'{2026-02-14 10:30Z,NULL}'"]),
    ("date[]", &["'{2026-02-14}'"]),
    ("uuid[]", &["'{0192f0c1-0000-7000-8000-00000000000a}'"]),
    ("jsonb[]", &["ARRAY['{\"b\":1,\"a\":[1 ]}', '\"x\"', 'null', NULL]::jsonb[]"]),
    ("json[]", &["ARRAY['{\"b\":1,\"a\":[1 ]}', '2']::json[]"]),
    ("bytea[]", &["ARRAY['\\xde'::bytea]"]),
    ("box[]", &["'{(1,1),(0,0);(3,3),(2,2)}'"]),
    ("mood", &["'sad'", "'so \"so\"'"]),
    ("mood[]", &["'{sad,\"so \\\"so\\\"\",NULL}'"]),
    ("amount", &["1.5"]),
    ("flag", &["true"]),
    ("words", &["'{a,b}'"]),
];

const SCHEMA: &str = "CREATE TYPE mood AS ENUM ('sad', 'so \"so\"');
    CREATE DOMAIN amount AS numeric(12, 2); CREATE DOMAIN flag AS boolean; CREATE DOMAIN words AS text[];
    ALTER DATABASE erp SET TimeZone = 'America/Sao_Paulo'; ALTER DATABASE erp SET DateStyle = 'SQL, DMY';
    ALTER DATABASE erp SET bytea_output = 'escape'; ALTER DATABASE erp SET extra_float_digits = -3;
    ALTER DATABASE erp SET IntervalStyle = 'iso_8601';";

#[tokio::test]
async fn rendered_as_to_jsonb_renders() {
    let cluster = Arc::new(Cluster::start());
    let columns: Vec<String> =
        TYPES.iter().enumerate().map(|(n, (kind, _))| format!("c{n} {kind}")).collect();
    cluster.sql(&format!(
        "{SCHEMA} CREATE TABLE t (id int PRIMARY KEY, {}); CREATE PUBLICATION tailhook FOR TABLE t",
        columns.join(", ")
    ));
    let mut follower = Follower::create(source(&cluster, &cluster.socket_url("postgres"))).await;
    let mut inserts = String::new();
    let mut id = 0;
    for (column, (kind, values)) in TYPES.iter().enumerate() {
        for value in *values {
            id += 1;
            writeln!(inserts, "INSERT INTO t (id, c{column}) VALUES ({id}, ({value})::{kind});")
                .expect("a string");
        }
    }
    cluster.sql(&format!("BEGIN; {inserts} COMMIT"));
    // the oracle's session is set as a careful client's is; the database's own settings are hostile
    let oracle = cluster.sql(
        "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET bytea_output = 'hex'; SET extra_float_digits = 3;
         SET IntervalStyle = 'postgres';
         SELECT e.key || ' ' || e.value::text FROM t, jsonb_each(to_jsonb(t)) e
         WHERE e.key <> 'id' AND e.value <> 'null' ORDER BY t.id",
    );
    let transaction = follower.transaction().await.expect("the rows");
    let rendered: Vec<String> = transaction
        .changes
        .iter()
        .map(|change| {
            let cells = change.new.as_ref().expect("a new row");
            let cell = cells.iter().enumerate().skip(1).find_map(|(at, cell)| match cell {
                Cell::Json(json) => Some(format!("c{} {}", at - 1, String::from_utf8_lossy(json))),
                _ => None,
            });
            cell.expect("a value")
        })
        .collect();
    assert_eq!(rendered.len(), id);
    for (ours, theirs) in rendered.iter().zip(oracle.lines()) {
        let column: usize = ours[1..].split(' ').next().and_then(|n| n.parse().ok()).expect("a column");
        assert_eq!(ours, theirs, "type {}", TYPES[column].0);
    }
    assert_eq!(oracle.lines().count(), rendered.len());
}
