//! Reading and commanding: alerts, incidents, rules, plugins, events. Reads go to committed state; commands go through
//! the journal. Never calls `ingest`.

mod alert_view;
mod alerts;
mod cel;
mod dead_letters;
mod documents;
mod events;
mod health;
mod incident_view;
mod incidents;
mod openapi;
mod page;
mod plugins;
mod rejudge;
mod rules;

use axum::Router;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::http::Shared;

/// All routes of the server with their documentation; `test_clock` adds the route that moves a manual clock.
pub fn router(app: Shared, max_body_bytes: usize, test_clock: bool) -> Router {
    let documented = OpenApiRouter::with_openapi(openapi::Document::openapi())
        .merge(crate::ingest::routes())
        .merge(alerts::routes())
        .merge(dead_letters::routes())
        .merge(incidents::routes())
        .merge(rules::routes())
        .merge(plugins::routes())
        .merge(rejudge::routes())
        .merge(events::routes())
        .merge(health::routes());
    let (router, document) = documented.split_for_parts();
    let mut router = router.merge(openapi::route(document));
    if test_clock {
        router = router.merge(health::test_clock_route());
    }
    router
        .fallback(health::not_found)
        .method_not_allowed_fallback(health::wrong_method)
        .layer(axum::extract::DefaultBodyLimit::max(max_body_bytes))
        .layer(axum::middleware::map_response(crate::http::error::in_our_shape))
        .layer(tower_http::catch_panic::CatchPanicLayer::new())
        // Answers of 5xx are logged where they are made; /readyz says 503 as a matter of course.
        .layer(tower_http::trace::TraceLayer::new_for_http().on_failure(()))
        .with_state(app)
}
