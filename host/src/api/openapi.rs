//! `/openapi.json`, generated from the handlers. Only what no handler knows is written here.

use axum::routing::get;
use axum::{Json, Router};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Generated;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{RefOr, Response};

use crate::http::Shared;

/// What every command says of its key.
const KEY: &str = "Drawn by the sender for each request, 1 to 255 visible characters: sent again within a day, the command is \
                   applied once and answered as before; with another request the answer is 422. Of a tenant the newest 10,000 \
                   keys are known.";

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
    document.paths.paths.values_mut().for_each(add_answers_of_the_door);
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

/// What a request can be answered before any handler sees it.
fn add_answers_of_the_door(item: &mut PathItem) {
    for operation in [&mut item.get, &mut item.put, &mut item.post, &mut item.delete]
        .into_iter()
        .flatten()
    {
        let known = &mut operation.responses.responses;
        let mut add = |status: &str, description: &str| {
            let response = || RefOr::T(Response::new(description));
            known.entry(status.to_owned()).or_insert_with(response);
        };
        add(
            "403",
            "A web page of another site, a foreign Host without authentication, or a key that may not",
        );
        add("400", "Malformed");
        add("401", "No key, or one that nobody knows");
        add("429", "Too much at once; try again later");
        add("503", "The server cannot answer this now; the text says why");
        let key = operation.parameters.iter_mut().flatten();
        if let Some(key) = key.into_iter().find(|parameter| parameter.name == "Idempotency-Key") {
            key.description = Some(KEY.to_owned());
            add("422", "The key was used for another request, or a value does not fit");
            add("504", "Durable, and not yet applied: the line is held");
        }
        if operation.request_body.is_some() {
            add("422", "A value does not fit");
            add("408", "The body came too slowly");
            add("413", "The body is too large");
            add("415", "An unknown content encoding; or, for a command, not JSON");
            add("504", "Durable, and not yet applied: the line is held");
        }
    }
}
