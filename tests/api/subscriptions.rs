//! Subscriptions: the old module's answers, masking, reading one's writes.
use crate::world::World;
use http::Method;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn create_list_get_delete() {
    let world = World::start().await;
    let wish = json!({"event": " Invoice.* ", "url": "https://a.example/hook", "secret": "hunter2-hunter2", "description": "d",
        "headers": {"X-Api-Key": "hunter2-key"}, "rate": 5, "ordering": "none"});
    let made = world.call(Method::POST, "/subscriptions", Some(wish.clone())).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let object = made.json();
    let id = object["id"].as_str().unwrap().to_string();
    assert_eq!(made.header("location"), Some(format!("/api/v1/tenant/webhooks/subscriptions/{id}").as_str()));
    for (field, value) in [
        ("event", json!("invoice.*")),
        ("url", json!("https://a.example/hook")),
        ("secret", json!("***")),
        ("active", json!(true)),
        ("state", json!("active")),
        ("tenant_id", json!("a")),
        ("effective", json!(true)),
        ("rate", json!(5)),
    ] {
        assert_eq!(object[field], value, "{field}");
    }
    assert!(object["created_at"].as_str().unwrap().ends_with("+00:00"));
    // sealed where it lives
    let stored = world.cluster.sql("SELECT secret FROM tailhook.webhook_subscriptions");
    assert!(stored.starts_with("sealed:v2:"), "{stored}");
    let stored = world.cluster.sql("SELECT options->'headers' FROM tailhook.webhook_subscriptions");
    assert!(stored.starts_with(r#"{"x-api-key": "sealed:v2:"#), "{stored}");
    assert_eq!(world.call(Method::POST, "/subscriptions", Some(wish)).await.problem(409), "already_exists");
    // generated: shown once
    let second = world
        .call(Method::POST, "/subscriptions", Some(json!({"event": "*", "url": "https://a.example/hook"})))
        .await;
    assert!(second.json()["secret"].as_str().unwrap().starts_with("whsec_"));
    let list = world.call(Method::GET, "/subscriptions", None).await;
    let events: Vec<_> =
        list.json().as_array().unwrap().iter().map(|s| s["event"].as_str().unwrap().to_string()).collect();
    assert_eq!(events, ["*", "invoice.*"], "newest first");
    assert!(
        !list.text.contains("hunter2") && !list.text.contains("whsec_") && !list.text.contains("sealed:")
    );
    let one = world.call(Method::GET, &format!("/subscriptions/{id}"), None).await;
    assert_eq!((one.json()["id"].as_str(), one.json()["secret"].as_str()), (Some(id.as_str()), Some("***")));
    let filtered = world.call(Method::GET, "/subscriptions?event=invoice.*", None).await;
    assert_eq!(filtered.json().as_array().unwrap().len(), 1);
    let page = world.call(Method::GET, "/subscriptions?limit=1", None).await;
    let link = page.header("link").unwrap().to_string();
    let next = link.split(['<', '>']).nth(1).unwrap();
    let page = world.call(Method::GET, &format!("/{next}"), None).await;
    assert_eq!((page.json()[0]["id"].as_str(), page.header("link")), (Some(id.as_str()), None));
    let path = format!("/subscriptions/{id}");
    let gone = world.call(Method::DELETE, &path, None).await;
    assert_eq!((gone.status.as_u16(), gone.text.as_str(), gone.header("x-effective")), (204, "", None));
    assert_eq!(world.call(Method::DELETE, &path, None).await.problem(404), "not_found");
    assert_eq!(world.call(Method::GET, &path, None).await.problem(404), "not_found");
    assert_eq!(world.call(Method::GET, "/subscriptions", None).await.json().as_array().unwrap().len(), 1);
    assert_eq!(
        world.cluster.sql("SELECT count(*) FROM tailhook.webhook_subscriptions WHERE NOT active"),
        "1"
    );
    // the same wish again, after it was deleted
    world.subscribe("invoice.*").await;
    // what SQL writes counts as well
    world.cluster.sql("UPDATE tailhook.webhook_subscriptions SET active = false WHERE event = '*'");
    world.subscribe("x.y").await;
    assert_eq!(world.call(Method::GET, "/subscriptions", None).await.json().as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn wishes_that_are_refused_name_each_field() {
    let world = World::start().await;
    for (wish, code, fields) in [
        (json!({}), "validation", vec!["event", "url"]),
        (
            json!({"event": "x", "url": "http", "secret": "short"}),
            "validation",
            vec!["event", "url", "secret"],
        ),
        (json!({"event": "a.b", "url": "https://10.0.0.1/hook"}), "validation", vec!["url"]),
        (json!({"event": "a.b", "url": "https://u:p@a.example/hook"}), "validation", vec!["url"]),
        (json!({"event": "a.b", "url": "https://a.example/", "filter": "x"}), "not_yet", vec!["filter"]),
        (
            json!({"event": "a.b", "url": "https://a.example/", "profile": "standard"}),
            "not_yet",
            vec!["profile"],
        ),
        (
            json!({"event": "a.b", "url": "https://a.example/", "batch": {}, "colour": 1}),
            "validation",
            vec!["batch", "colour"],
        ),
    ] {
        let answer = world.call(Method::POST, "/subscriptions", Some(wish.clone())).await;
        assert_eq!(answer.problem(400), code, "{wish}");
        let found: Vec<String> = answer.json()["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["field"].as_str().unwrap().to_string())
            .collect();
        assert_eq!(found, fields, "{wish}");
    }
    assert_eq!(world.cluster.sql("SELECT count(*) FROM tailhook.webhook_subscriptions"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_lags_and_a_database_that_is_away() {
    let world = World::start().await;
    let first = world.subscribe("invoice.created").await;
    world.held.send_replace(true);
    let wish = json!({"event": "payment.failed", "url": "https://a.example/hook"});
    let made = world.call(Method::POST, "/subscriptions", Some(wish)).await;
    assert_eq!((made.status.as_u16(), made.json()["effective"].as_bool()), (201, Some(false)));
    // a list has it all the same; an event is not refused for want of it
    let list = world.call(Method::GET, "/subscriptions", None).await;
    assert_eq!(list.json().as_array().unwrap().len(), 2, "{}", list.text);
    let event = json!({"event": "payment.failed", "payload": {}});
    let late = world.call(Method::POST, "/deliveries", Some(event.clone())).await;
    assert_eq!((late.problem(503).as_str(), late.header("retry-after")), ("routing_behind", Some("2")));
    let gone = world.call(Method::DELETE, &format!("/subscriptions/{first}"), None).await;
    assert_eq!((gone.status.as_u16(), gone.header("x-effective")), (204, Some("false")));
    world.held.send_replace(false);
    assert_eq!(world.call(Method::POST, "/deliveries", Some(event.clone())).await.status, 202);
    assert_eq!(world.call(Method::GET, "/subscriptions", None).await.json().as_array().unwrap().len(), 1);
    // the test's follower gives no feedback, so a fast stop would wait for it
    world.cluster.stop("immediate");
    let wish = json!({"event": "other.event", "url": "https://a.example/hook"});
    let refused = world.call(Method::POST, "/subscriptions", Some(wish)).await;
    assert_eq!(refused.problem(503), "database_unavailable");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(world.call(Method::DELETE, &format!("/subscriptions/{first}"), None).await.status, 503);
    assert_eq!(world.call(Method::GET, "/subscriptions", None).await.json().as_array().unwrap().len(), 1);
    assert_eq!(world.call(Method::POST, "/deliveries", Some(event)).await.status, 202);
    assert_eq!(world.call(Method::GET, "/deliveries", None).await.json().as_array().unwrap().len(), 2);
}
