//! The table of routes: what there is, and who may. The tenant-isolation test walks it.
use super::gate::{self, Access};
use super::problem::Problem;
use super::{Api, ApiParts, BASE, deliveries, pages, subscriptions};
use axum::Router;
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use http::{Method, StatusCode, header};

/// One route.
struct RouteRow {
    method: Method,
    path: String,
    access: Access,
    handler: fn(MethodFilter) -> MethodRouter<Api>,
}

fn row(
    method: Method,
    path: &str,
    access: Access,
    handler: fn(MethodFilter) -> MethodRouter<Api>,
) -> RouteRow {
    let path = if matches!(access, Access::Read | Access::Write) {
        format!("{BASE}{path}")
    } else {
        path.to_string()
    };
    RouteRow { method, path, access, handler }
}

/// Every route there is.
fn rows() -> Vec<RouteRow> {
    use Access::{Open, Operator, Probe, Read, Write};
    vec![
        row(Method::POST, "/subscriptions", Write, |filter| on(filter, subscriptions::create)),
        row(Method::GET, "/subscriptions", Read, |filter| on(filter, subscriptions::list)),
        row(Method::GET, "/subscriptions/{id}", Read, |filter| on(filter, subscriptions::get)),
        row(Method::DELETE, "/subscriptions/{id}", Write, |filter| on(filter, subscriptions::delete)),
        row(Method::POST, "/deliveries", Write, |filter| on(filter, deliveries::create)),
        row(Method::GET, "/deliveries", Read, |filter| on(filter, deliveries::list)),
        row(Method::GET, "/deliveries/{id}", Read, |filter| on(filter, deliveries::get)),
        row(Method::POST, "/deliveries/{id}/retry", Write, |filter| on(filter, deliveries::retry)),
        row(Method::GET, "/healthz", Probe, |filter| on(filter, pages::healthz)),
        row(Method::GET, "/readyz", Probe, |filter| on(filter, pages::readyz)),
        row(Method::GET, "/metrics", Open, |filter| on(filter, pages::metrics)),
        row(Method::GET, "/status", Operator, |filter| on(filter, pages::status)),
    ]
}

/// Method and path of every route that belongs to a tenant: what an isolation test walks.
pub fn tenant_routes() -> Vec<(Method, String)> {
    let of_tenant = |row: &RouteRow| matches!(row.access, Access::Read | Access::Write);
    rows().into_iter().filter(of_tenant).map(|row| (row.method, row.path)).collect()
}

/// The whole API as a service.
pub fn router(parts: ApiParts) -> Router {
    let api = Api::new(parts);
    let mut router = Router::new();
    for RouteRow { method, path, access, handler } in rows() {
        let Ok(filter) = MethodFilter::try_from(method) else { continue };
        let admitted = handler(filter).route_layer(from_fn_with_state((api.clone(), access), gate::admit));
        router = router.route(&path, admitted);
    }
    router
        .fallback(|| async { Problem::not_found("path").into_response() })
        .layer(map_response(problems_only))
        .layer(from_fn_with_state(api.clone(), gate::host))
        .with_state(api)
}

/// What axum itself answers (405) becomes a problem too.
async fn problems_only(response: Response) -> Response {
    let status = response.status();
    let typed = response.headers().contains_key(header::CONTENT_TYPE);
    if status != StatusCode::METHOD_NOT_ALLOWED || typed {
        return response;
    }
    let allow = response.headers().get(header::ALLOW).cloned();
    let mut problem =
        Problem::new(status, "method_not_allowed", "this path does not take this method").into_response();
    if let Some(allow) = allow {
        problem.headers_mut().insert(header::ALLOW, allow);
    }
    problem
}
