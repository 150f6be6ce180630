//! `/openapi.json`, generated from the handlers. Only what no handler knows is written here.

use axum::routing::get;
use axum::{Json, Router};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Generated;
use utoipa::openapi::path::Operation;

use crate::http::Shared;

/// The frame of the document.
#[derive(OpenApi)]
#[openapi(info(
    title = "Donjon",
    description = "Alert correlation with WebAssembly components. Keys: header X-API-KEY, bearer token, query parameter api_key, or the password of HTTP Basic."
))]
pub struct Document;

/// The route of the finished document.
pub fn route(mut document: Generated) -> Router<Shared> {
    name_operations(&mut document);
    Router::new().route("/openapi.json", get(move || async move { Json(document) }))
}

/// Generators of clients need a name for each operation that no other has: the method and the path.
fn name_operations(document: &mut Generated) {
    for (path, item) in &mut document.paths.paths {
        let name = path.replace(['/', '-', '.'], "_").replace(['{', '}'], "");
        let named = |method: &str, operation: &mut Option<Operation>| {
            if let Some(operation) = operation {
                operation.operation_id = Some(format!("{method}{name}"));
            }
        };
        named("get", &mut item.get);
        named("put", &mut item.put);
        named("post", &mut item.post);
        named("delete", &mut item.delete);
    }
}
