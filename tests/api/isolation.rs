//! No route gives a tenant anything of another's: walks the router's own table.
use crate::world::World;
use http::Method;
use serde_json::json;
use tailhook::admin::tenant_routes;

#[tokio::test(flavor = "multi_thread")]
async fn every_route_keeps_tenants_apart() {
    let world = World::start().await;
    let subscription = world.subscribe("*").await;
    let event = json!({"event": "payment.failed", "payload": {"whose": "only a's"}});
    world.call(Method::POST, "/deliveries", Some(event)).await;
    let delivery =
        world.call(Method::GET, "/deliveries", None).await.json()[0]["id"].as_str().unwrap().to_string();
    world.fail("a", &delivery).await;
    let routes = tenant_routes();
    assert!(routes.len() >= 7);
    for (method, route) in routes {
        let path = format!(
            "/{}",
            route.replace("{id}", if route.contains("deliveries") { &delivery } else { &subscription })
        );
        let name = format!("{method} {path}");
        let body = || Some(json!({}));
        for none in [vec![], vec![("authorization", "Bearer wrong")], vec![("x-tenant-id", "a")]] {
            assert_eq!(
                world.call_with(method.clone(), &path, body(), &none).await.problem(401),
                "unauthorized",
                "{name}"
            );
        }
        let root = [("authorization", "Bearer root-token")];
        assert_eq!(
            world.call_with(method.clone(), &path, body(), &root).await.problem(403),
            "tenant_missing",
            "{name}"
        );
        let for_a = [("authorization", "Bearer b-token"), ("x-tenant-id", "a")];
        assert_eq!(
            world.call_with(method.clone(), &path, body(), &for_a).await.problem(403),
            "tenant_forbidden",
            "{name}"
        );
        if method != Method::GET {
            let reader = [("authorization", "Bearer reader-token"), ("x-tenant-id", "a")];
            assert_eq!(
                world.call_with(method.clone(), &path, body(), &reader).await.problem(403),
                "read_only",
                "{name}"
            );
        }
        for of_b in [
            vec![("authorization", "Bearer b-token")],
            vec![("authorization", "Bearer root-token"), ("x-tenant-id", "b")],
        ] {
            let answer = world.call_with(method.clone(), &path, body(), &of_b).await;
            if route.contains("{id}") {
                assert_eq!(answer.problem(404), "not_found", "{name}");
            } else if method == Method::GET {
                assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, "[]"), "{name}");
            } else {
                assert_eq!(answer.status, 400, "{name}: an empty body");
            }
            assert!(!answer.text.contains("only a's"), "{name}");
        }
    }
    // nothing of it touched a's objects
    assert_eq!(world.call(Method::GET, "/subscriptions", None).await.json()[0]["id"], subscription);
    assert_eq!(world.call(Method::GET, "/deliveries", None).await.json()[0]["status"], "FAILED");
}
