//! `/openapi.json`, generated from the handlers. Only what no handler knows is written here.

use axum::routing::get;
use axum::{Json, Router};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Generated;

use crate::http::Shared;

/// The frame of the document.
#[derive(OpenApi)]
#[openapi(info(
    title = "Donjon",
    description = "Alert correlation with WebAssembly components. Keys: header X-API-KEY, bearer token, query parameter api_key, or the password of HTTP Basic."
))]
pub struct Document;

/// The route of the finished document.
pub fn route(document: Generated) -> Router<Shared> {
    Router::new().route("/openapi.json", get(move || async move { Json(document) }))
}
