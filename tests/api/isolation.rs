//! No route gives a tenant anything of another's: walks the router's own table. With row-level security, and with a role that
//! bypasses it, as the README's own does: there nothing but our own SQL keeps tenants apart.
use crate::world::World;
use http::Method;
use serde_json::json;
use tailhook::admin::tenant_routes;

#[tokio::test(flavor = "multi_thread")]
async fn every_route_keeps_tenants_apart() {
    for role in ["LOGIN", "LOGIN BYPASSRLS"] {
        let world = World::with_role(role).await;
        walk(&world).await;
        table_keeps_apart(&world).await;
    }
}

async fn walk(world: &World) {
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

/// What is read from the table itself while the stream lags behind our own writes, and what counts as the same wish.
async fn table_keeps_apart(world: &World) {
    let wish = json!({"event": "*", "url": "https://a.example/hook"});
    let of_b = [("authorization", "Bearer b-token")];
    let made = world.call_with(Method::POST, "/subscriptions", Some(wish), &of_b).await;
    assert_eq!(made.status, 201, "another tenant's wish is another wish: {}", made.text);
    let own = made.json()["id"].clone();
    world.held.send_replace(true);
    let wish = json!({"event": "invoice.*", "url": "https://a.example/hook"});
    let unseen = world.call(Method::POST, "/subscriptions", Some(wish)).await.json();
    assert_eq!(unseen["effective"], false);
    let path = format!("/subscriptions/{}", unseen["id"].as_str().unwrap());
    let (list, one, of_a) = tokio::join!(
        world.call_with(Method::GET, "/subscriptions", None, &of_b),
        world.call_with(Method::GET, &path, None, &of_b),
        world.call(Method::GET, "/subscriptions", None),
    );
    let ids: Vec<_> = list.json().as_array().unwrap().iter().map(|s| s["id"].clone()).collect();
    assert_eq!(ids, [own]);
    assert_eq!(one.problem(404), "not_found");
    assert_eq!(of_a.json().as_array().unwrap().len(), 2);
    let gone = world.call_with(Method::DELETE, &path, None, &of_b).await;
    assert_eq!(gone.problem(404), "not_found");
    world.held.send_replace(false);
    assert_eq!(world.call(Method::GET, &path, None).await.status, 200);
}
