//! The API's writes under row-level security.
use crate::cluster::Cluster;
use crate::migrate::{plan, session};
use tailhook::domain::{Lsn, Options, Pattern, Sealed, Subscription, SubscriptionId, TenantId};
use tailhook::postgres::migrate::migrate;
use tailhook::postgres::subscriptions::{Subscriptions, WriteError};
use uuid::Uuid;

fn wish(id: u128, tenant: &str, event: &str) -> Subscription {
    Subscription {
        id: SubscriptionId(Uuid::from_u128(id)),
        tenant: TenantId::new(tenant),
        pattern: Pattern::parse(event).unwrap(),
        url: "https://a.example/hook".into(),
        secret: Some(Sealed::new("sealed:v1:xyz")),
        active: true,
        created_us: 0,
        updated_us: 0,
        options: Options { rate: Some(5), ..Options::default() },
    }
}

/// Under row-level security, and with the role of the README, which sees every row: there our own SQL alone keeps tenants apart.
#[tokio::test]
async fn create_conflict_delete_and_the_commits_position() {
    for role in ["LOGIN", "LOGIN BYPASSRLS"] {
        writes_of(role).await;
    }
}

async fn writes_of(role: &str) {
    let cluster = Cluster::start();
    cluster.sql(&format!("CREATE ROLE api {role}"));
    let mut plan = plan(&[]);
    plan.api_role = Some("api".into());
    migrate(&mut session(&cluster.url("postgres")).await, &plan).await.unwrap();
    let api = Subscriptions::new(cluster.url("api"), "tailhook");
    let before: Lsn = cluster.sql("SELECT pg_current_wal_insert_lsn()").parse().unwrap();
    let written = api.create(&wish(1, "a", "invoice.*")).await.unwrap();
    assert!(written.lsn.unwrap() > before && written.created_us > 1_600_000_000_000_000);
    let (a, b) = (TenantId::new("a"), TenantId::new("b"));
    let exists = WriteError::Exists(SubscriptionId(Uuid::from_u128(1)));
    assert_eq!(api.create(&wish(2, "a", "invoice.*")).await, Err(exists));
    let taken = WriteError::IdTaken(SubscriptionId(Uuid::from_u128(1)));
    assert_eq!(api.create(&wish(1, "a", "invoice.paid")).await, Err(taken));
    api.create(&wish(3, "b", "invoice.*")).await.unwrap();
    api.create(&wish(4, "a", "invoice.sent")).await.unwrap();
    assert_eq!(api.active(&a).await.unwrap().len(), 2);
    assert_eq!(api.active(&b).await.unwrap()[0][8].as_deref(), Some("{\"rate\": 5}"));
    // another tenant's row is not there
    let one = SubscriptionId(Uuid::from_u128(1));
    assert_eq!(api.deactivate(&b, one).await, Err(WriteError::Missing));
    let gone = api.deactivate(&a, one).await.unwrap();
    assert!(
        gone.lsn > written.lsn
            && gone.updated_us > written.updated_us
            && gone.created_us == written.created_us
    );
    assert_eq!(api.deactivate(&a, one).await, Err(WriteError::Missing));
    api.create(&wish(2, "a", "invoice.*")).await.unwrap();
    // of many at once exactly one is made
    let mut set = tokio::task::JoinSet::new();
    for id in 10..30 {
        let api = api.clone();
        set.spawn(async move { api.create(&wish(id, "a", "race.started")).await });
    }
    let made = set.join_all().await.iter().filter(|r| r.is_ok()).count();
    assert_eq!(made, 1);
    let connections = cluster.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'api'");
    assert!(connections.parse::<u32>().unwrap() <= 4);
    let dba = session(&cluster.url("postgres")).await;
    let sealed = tailhook::postgres::checks::sealed_secret(dba.client(), "tailhook").await.unwrap();
    assert_eq!(sealed, Some(Sealed::new("sealed:v1:xyz")));
    assert_eq!(tailhook::postgres::checks::sealed_secret(dba.client(), "absent").await.unwrap(), None);
    // the server goes away and comes back
    cluster.stop("fast");
    assert!(matches!(api.deactivate(&a, one).await, Err(WriteError::Database(e)) if e.is_unreachable()));
    cluster.up();
    assert_eq!(api.deactivate(&a, one).await, Err(WriteError::Missing));
    assert_eq!(api.active(&a).await.unwrap().len(), 3);
}
