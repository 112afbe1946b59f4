//! Deliveries: posted, listed, shown, retried; the same request twice.
use crate::world::World;
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tailhook::domain::TenantId;
use tailhook::store::{Batch, Idempotent, Record};

#[tokio::test(flavor = "multi_thread")]
async fn post_list_get_retry() {
    let world = World::start().await;
    let subscription = world.subscribe("payment.*").await;
    world.subscribe("*").await;
    let event = json!({"event": "Payment.Failed", "payload": {"event": "payment.failed", "data": {"amount": 1.5}, "resource_type": "payment", "resource_id": "p1"}});
    let posted = world.call(Method::POST, "/deliveries", Some(event)).await;
    assert_eq!(posted.status, 202, "{}", posted.text);
    let answer = posted.json();
    assert_eq!((answer["queued"].as_bool(), answer["count"].as_u64()), (Some(true), Some(2)));
    assert_eq!(answer["event_id"].as_str().unwrap().as_bytes()[14], b'7');
    assert!(answer["message"].is_string());
    world
        .call(Method::POST, "/deliveries", Some(json!({"event": "invoice.created", "payload": {"n": 1.10}})))
        .await;
    let list = world.call(Method::GET, "/deliveries", None).await.json();
    assert_eq!(list.as_array().unwrap().len(), 3);
    assert_eq!(list[0]["event"], "invoice.created", "newest first");
    let query = format!(
        "/deliveries?event=payment.failed&status=pending&subscription_id={subscription}&resource_id=p1"
    );
    let found = world.call(Method::GET, &query, None).await.json();
    let delivery = &found[0];
    assert_eq!(found.as_array().unwrap().len(), 1);
    let id = delivery["id"].as_str().unwrap().to_string();
    for (field, value) in [
        ("event", json!("payment.failed")),
        ("status", json!("PENDING")),
        ("attempts", json!(0)),
        ("target_url", json!("https://a.example/hook")),
        ("last_error", Value::Null),
        ("event_id", answer["event_id"].clone()),
        ("subscription_id", json!(subscription)),
        ("resource_type", json!("payment")),
        ("resource_id", json!("p1")),
    ] {
        assert_eq!(delivery[field], value, "{field}");
    }
    assert_eq!(delivery["payload"]["data"], json!({"amount": 1.5}));
    assert_eq!(
        delivery["payload"]["metadata"],
        json!({"tenant_id": "a", "source": "gestiqcloud", "version": "1.0"})
    );
    let path = format!("/deliveries/{id}");
    assert_eq!(world.call(Method::POST, &format!("{path}/retry"), None).await.problem(400), "not_retryable");
    world.fail("a", &id).await;
    let failed = world.call(Method::GET, &path, None).await.json();
    assert_eq!((failed["status"].as_str(), failed["attempts"].as_u64()), (Some("FAILED"), Some(1)));
    assert!(failed["last_error"].is_string());
    assert_eq!(
        (failed["attempt_log"][0]["status_code"].as_u64(), failed["attempt_log"][0]["duration_ms"].as_f64()),
        (Some(404), Some(1.5))
    );
    let retried = world.call(Method::POST, &format!("{path}/retry"), None).await;
    assert_eq!((retried.status.as_u16(), retried.json()["status"].as_str()), (202, Some("PENDING")));
    let again = world.call(Method::GET, &path, None).await.json();
    assert_eq!((again["status"].as_str(), again["attempts"].as_u64()), (Some("PENDING"), Some(0)));
    let page = world.call(Method::GET, "/deliveries?limit=2&until=2099-01-01T00:00:00%2B00:00", None).await;
    let next = page.header("link").unwrap().split(['<', '>']).nth(1).unwrap().to_string();
    let rest = world.call(Method::GET, &format!("/{next}"), None).await;
    assert_eq!((rest.json().as_array().unwrap().len(), rest.header("link")), (1, None));
    for bad in ["?status=lost", "?subscription_id=x", "?since=x", "?limit=1000", "?stat=x", "?event=**"] {
        assert_eq!(
            world.call(Method::GET, &format!("/deliveries{bad}"), None).await.problem(400),
            "validation",
            "{bad}"
        );
    }
    assert_eq!(world.call(Method::GET, "/deliveries/x", None).await.problem(404), "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_request_again_gets_the_same_answer() {
    let world = World::start().await;
    let headers = |key: &'static str| {
        [("authorization", "Bearer root-token"), ("x-tenant-id", "a"), ("idempotency-key", key)]
    };
    let post =
        |path: &'static str, body: Value, key: &'static str| world.call_with_owned(path, body, headers(key));
    let wish = json!({"event": "payment.*", "url": "https://a.example/hook"});
    let first = post("/subscriptions", wish.clone(), "k1").await;
    assert!(first.json()["secret"].as_str().unwrap().starts_with("whsec_"));
    let again = post("/subscriptions", wish.clone(), "k1").await;
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (201, Some("true")));
    assert_eq!(
        (again.json()["id"].clone(), again.json()["secret"].as_str()),
        (first.json()["id"].clone(), Some("***"))
    );
    // a crash between the row and the answer: the answer is not known, and is given again
    let lost = Idempotent {
        tenant: TenantId::new("a"),
        key: "POST /subscriptions k1".into(),
        body_hash: [0; 32],
        status: 201,
        answer: Bytes::new(),
        at_ms: 0,
    };
    world
        .store
        .checkpoint()
        .commit(Batch { records: vec![Record::Idempotent(Box::new(lost))] })
        .await
        .unwrap();
    let (again, expected) = (post("/subscriptions", wish.clone(), "k1").await, first.json());
    assert_eq!((again.status.as_u16(), again.header("idempotency-replayed")), (201, None));
    for field in ["id", "secret", "event", "url", "created_at", "active"] {
        assert_eq!(again.json()[field], expected[field], "{field}");
    }
    assert_eq!(post("/subscriptions", wish.clone(), "k2").await.problem(409), "already_exists");
    let other = json!({"event": "payment.*", "url": "https://b.example/hook"});
    assert_eq!(post("/subscriptions", other, "k1").await.problem(409), "idempotency_mismatch");
    assert_eq!(post("/subscriptions", wish, "").await.problem(400), "idempotency_key");
    let event = json!({"event": "payment.failed", "payload": {"n": 1}});
    let (one, two) =
        tokio::join!(post("/deliveries", event.clone(), "k1"), post("/deliveries", event.clone(), "k1"));
    assert!(one.status == 202 || two.status == 202);
    let three = post("/deliveries", event.clone(), "k1").await;
    assert_eq!(three.status, 202);
    assert_eq!(three.json()["event_id"].as_str().unwrap().as_bytes()[14], b'8');
    assert_eq!(world.call(Method::GET, "/deliveries", None).await.json().as_array().unwrap().len(), 1);
    // another tenant's key is another key
    let of_b = [("authorization", "Bearer b-token"), ("idempotency-key", "k1")];
    let other = world.call_with(Method::POST, "/deliveries", Some(event.clone()), &of_b).await;
    assert_eq!(other.problem(404), "no_subscription");
    // what failed is not remembered
    world
        .call_with(
            Method::POST,
            "/subscriptions",
            Some(json!({"event": "*", "url": "https://b.example/hook"})),
            &of_b[..1],
        )
        .await;
    assert_eq!(world.call_with(Method::POST, "/deliveries", Some(event), &of_b).await.status, 202);
}

/// A key is a tenant's own, and a path's own: the same key elsewhere is another request.
#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_belongs_to_its_tenant_and_its_path() {
    let world = World::start().await;
    let of_a = [("authorization", "Bearer root-token"), ("x-tenant-id", "a"), ("idempotency-key", "k")];
    let of_b = [("authorization", "Bearer b-token"), ("idempotency-key", "k")];
    let post = async |path: &str, body: &Value, tenant: &[(&str, &str)]| {
        world.call_with(Method::POST, path, Some(body.clone()), tenant).await
    };
    let wish = json!({"event": "payment.*", "url": "https://a.example/hook"});
    let event = json!({"event": "payment.failed", "payload": {"n": 1}});
    for (path, body, status, id) in
        [("/subscriptions", &wish, 201, "id"), ("/deliveries", &event, 202, "event_id")]
    {
        let mut ids = Vec::new();
        for tenant in [&of_a[..], &of_b[..]] {
            let first = post(path, body, tenant).await;
            assert_eq!(
                (first.status.as_u16(), first.header("idempotency-replayed")),
                (status, None),
                "{path}"
            );
            ids.push(first.json()[id].clone());
        }
        // the part of an id that is no time
        let hash = |id: &Value| id.as_str().unwrap()[15..].to_string();
        assert_ne!(hash(&ids[0]), hash(&ids[1]), "{path}: ids are derived from the tenant too");
        // each tenant's answer is kept beside the other's
        for (tenant, known) in [(&of_a[..], &ids[0]), (&of_b[..], &ids[1])] {
            let again = post(path, body, tenant).await;
            assert_eq!(
                (again.header("idempotency-replayed"), &again.json()[id]),
                (Some("true"), known),
                "{path}"
            );
        }
    }
    // the delivery's id stands in the path: of two deliveries both are retried
    post("/deliveries", &json!({"event": "payment.failed", "payload": {"n": 2}}), &of_a[..2]).await;
    let list = world.call(Method::GET, "/deliveries", None).await.json();
    let deliveries: Vec<&str> = list.as_array().unwrap().iter().map(|d| d["id"].as_str().unwrap()).collect();
    assert_eq!(deliveries.len(), 2);
    for delivery in deliveries {
        world.fail("a", delivery).await;
        let path = format!("/deliveries/{delivery}/retry");
        let retried = world.call_with(Method::POST, &path, None, &of_a).await;
        assert_eq!((retried.status.as_u16(), retried.header("idempotency-replayed")), (202, None));
        assert_eq!(retried.json()["id"], delivery);
        let now = world.call(Method::GET, &format!("/deliveries/{delivery}"), None).await.json();
        assert_eq!(now["status"], "PENDING");
        assert_eq!(
            world.call_with(Method::POST, &path, None, &of_a).await.header("idempotency-replayed"),
            Some("true")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_are_refused() {
    let world = World::start().await;
    world.subscribe("*").await;
    for (body, status, code) in [
        (json!({"event": "payment.failed", "payload": []}), 400, "validation"),
        (json!({"event": "webhook.test", "payload": {}}), 400, "validation"),
        (json!({"event": "payment.failed"}), 400, "validation"),
        (json!([]), 400, "json"),
        (json!({"event": "payment.failed", "payload": {"x": "y".repeat(256 * 1024)}}), 413, "too_large"),
        (json!({"event": "payment.failed", "payload": {"x": "y".repeat(256 * 1024 - 60)}}), 413, "too_large"),
    ] {
        let answer = world.call(Method::POST, "/deliveries", Some(body)).await;
        assert_eq!(answer.problem(status), code);
    }
    let of_b = [("authorization", "Bearer b-token")];
    let body = json!({"event": "payment.failed", "payload": {}});
    assert_eq!(
        world.call_with(Method::POST, "/deliveries", Some(body), &of_b).await.problem(404),
        "no_subscription"
    );
    assert_eq!(world.store.vitals().pending, 0);
}
