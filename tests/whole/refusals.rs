//! What a first start refuses, in one line with the remedy, before it leaves anything behind in the ERP's cluster; and rows of
//! `webhook_subscriptions` that are not routed.
use crate::rig::{RULES, Rig, TENANT};

#[tokio::test(flavor = "multi_thread")]
async fn an_unfit_role_is_one_line_and_leaves_no_slot() {
    let mut rig = Rig::new(RULES).await;
    for (harm, mend, says) in [
        (
            "REVOKE SELECT ON invoices FROM tailhook",
            "GRANT SELECT ON invoices TO tailhook",
            "GRANT SELECT ON public.invoices TO tailhook;",
        ),
        (
            "ALTER ROLE tailhook NOREPLICATION",
            "ALTER ROLE tailhook REPLICATION",
            "ALTER ROLE tailhook REPLICATION;",
        ),
        (
            "ALTER ROLE tailhook NOBYPASSRLS; ALTER TABLE invoices ENABLE ROW LEVEL SECURITY",
            "ALTER ROLE tailhook BYPASSRLS",
            "ALTER ROLE tailhook BYPASSRLS;",
        ),
    ] {
        rig.erp.run(harm).await.unwrap();
        let (status, text) = rig.tool(&["run"]);
        assert_eq!((status.code(), text.lines().count()), (Some(1), 1), "{harm}: {text}");
        assert!(text.contains(says), "{harm}: {text}");
        rig.erp.run(mend).await.unwrap();
    }
    // nothing is left that would hold the first good start up: an abandoned slot would be a gap
    rig.start(&[]);
    rig.ready().await;
    let row = |event: &str, url: &str| {
        format!(
            "INSERT INTO tailhook.webhook_subscriptions (tenant_id, event, url) VALUES ('{TENANT}', '{event}', '{url}')"
        )
    };
    rig.erp.run(&row("Not An Event", "https://a.example/hook")).await.unwrap();
    rig.erp.run(&row("invoice.created", "https://10.0.0.1/hook")).await.unwrap();
    // answered once the routing has applied its commit, and those before it
    rig.api.subscribe(TENANT, "invoice.created", "https://a.example/hook", "long enough").await.unwrap();
    let (status, found) = rig.tool(&["check"]);
    assert!(status.success(), "{found}");
    for text in [rig.log(), found] {
        assert_eq!(text.matches("not routed: ").count(), 2, "{text}");
        assert!(text.contains("10.0.0.1 is refused"), "{text}");
    }
}
