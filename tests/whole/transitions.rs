//! Events are business facts: transitions under the default replica identity, rows as they stand at commit.
use crate::rig::{RULES, Rig, TENANT};

async fn marker(rig: &Rig, number: &str) {
    let insert = format!("INSERT INTO invoices (number, tenant_id) VALUES ('{number}', '{TENANT}')");
    rig.erp.run(&insert).await.unwrap();
    rig.inbox
        .until(number, |inbox| inbox.events("invoice.created").iter().any(|b| b["data"]["number"] == number))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sent_fires_once_also_across_a_restart_and_created_has_the_final_row() {
    let mut rig = Rig::subscribed(RULES).await;
    let five = format!(
        "BEGIN; INSERT INTO invoices (id, tenant_id) VALUES ('22222222-2222-4222-8222-222222222222', '{TENANT}');
         UPDATE invoices SET number = 'F-1'; UPDATE invoices SET total = 10; UPDATE invoices SET total = 20.5;
         UPDATE invoices SET notes = 'x'; UPDATE invoices SET number = 'F-2', total = 42.25; COMMIT"
    );
    rig.erp.run(&five).await.unwrap();
    rig.erp.run("UPDATE invoices SET status = 'sent'").await.unwrap();
    rig.erp.run("UPDATE invoices SET notes = 'y'").await.unwrap();
    rig.erp.run("UPDATE invoices SET status = 'sent', notes = 'z'").await.unwrap();
    marker(&rig, "before the restart").await;
    assert!(rig.stop().await.success());
    rig.erp.run("UPDATE invoices SET notes = 'while it was away' WHERE number = 'F-2'").await.unwrap();
    rig.start(&[]);
    rig.erp.run("UPDATE invoices SET total = 43, status = 'sent' WHERE number = 'F-2'").await.unwrap();
    marker(&rig, "after the restart").await;

    let created = rig.inbox.events("invoice.created");
    let first: Vec<_> = created.iter().filter(|b| b["data"]["number"] == "F-2").collect();
    assert_eq!((created.len(), first.len()), (3, 1), "{created:?}");
    assert_eq!(first[0]["data"]["total"].to_string(), "42.25");
    let sent = rig.inbox.events("invoice.sent");
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!(sent[0]["resource_id"], "22222222-2222-4222-8222-222222222222");
    rig.inbox.look(|all| assert_eq!(all.len(), 4, "nothing was repeated"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_comes_later_knows_the_rows_that_were_there_before() {
    let only_created = RULES.split("[[event]]\nname = \"invoice.sent\"").next().unwrap().to_owned();
    let mut rig = Rig::subscribed(&only_created).await;
    marker(&rig, "old").await;
    assert!(rig.stop().await.success());
    // while it is away: rows change under the old mapping
    rig.erp
        .run(&format!("INSERT INTO invoices (number, tenant_id) VALUES ('away', '{TENANT}')"))
        .await
        .unwrap();
    rig.edit(|file| file.replace(&only_created, RULES));
    rig.start(&[]);
    rig.ready().await;
    marker(&rig, "caught up").await;
    rig.erp.run("UPDATE invoices SET status = 'sent' WHERE number IN ('old', 'away')").await.unwrap();
    // another resource's event may overtake these two
    rig.inbox.until("both are sent", |inbox| inbox.events("invoice.sent").len() == 2).await;
    marker(&rig, "end").await;
    let sent = rig.inbox.events("invoice.sent");
    assert_eq!(sent.len(), 2, "{sent:?}\n{}", rig.log());
    assert!(rig.log().contains("the shadow is filled"), "{}", rig.log());
}
