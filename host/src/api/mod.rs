//! Reading and commanding: alerts, incidents, rules, plugins, events. Reads go to committed state; commands go through
//! the journal. Never calls `ingest`.

mod alert_view;
mod alerts;
mod cel;
mod dead_letters;
mod documents;
mod event_hub;
mod events;
mod health;
mod incident_view;
mod incidents;
mod openapi;
mod page;
mod plugins;
mod rejudge;
mod rule_apply;
mod rules;

use std::sync::Arc;

use axum::Router;
use event_hub::EventHub;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::http::browsers::{self, Browsers};
use crate::http::{Shared, error};

/// Largest body of a command: well below one entry of the journal.
const MAX_COMMAND_BYTES: usize = 4 << 20;

/// All routes of the server with their documentation; `test_clock` adds the route that moves a manual clock.
pub fn router(app: Shared, browsers: Browsers, max_event_streams: usize, test_clock: bool) -> Router {
    let hub = EventHub::new(Arc::clone(&app), max_event_streams);
    let reads_and_commands = OpenApiRouter::new()
        .merge(alerts::routes())
        .merge(dead_letters::routes())
        .merge(incidents::routes())
        .merge(rules::routes())
        .merge(plugins::routes())
        .merge(rejudge::routes())
        .merge(events::routes(hub))
        .merge(health::routes())
        .route_layer(axum::middleware::from_fn(browsers::json_only))
        .route_layer(axum::extract::DefaultBodyLimit::max(MAX_COMMAND_BYTES));
    let documented = OpenApiRouter::with_openapi(openapi::Document::openapi())
        .merge(crate::ingest::routes())
        .merge(reads_and_commands);
    let (router, document) = documented.split_for_parts();
    let mut router = router.merge(openapi::route(document));
    if test_clock {
        router = router.merge(health::test_clock_route());
    }
    router
        .fallback(health::not_found)
        .method_not_allowed_fallback(health::wrong_method)
        .layer(axum::middleware::map_response(error::in_our_shape))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(error::panicked))
        .layer(axum::middleware::from_fn_with_state(
            Arc::new(browsers),
            browsers::guard,
        ))
        // Answers of 5xx are logged where they are made; /readyz says 503 as a matter of course.
        .layer(
            tower_http::trace::TraceLayer::new_for_http()
                .make_span_with(span)
                .on_failure(()),
        )
        .with_state(app)
}

/// What the log says of a request. Never its query: a key may be in it.
fn span(request: &axum::extract::Request) -> tracing::Span {
    tracing::debug_span!("request", method = %request.method(), path = request.uri().path())
}
