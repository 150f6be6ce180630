//! `GET /events`: server-sent events from the outbox. At least once. The identifier of an event is the journal position
//! up to which a client has been told everything; positions mean the same after any replay or rebuild, so a client
//! that names one as its `Last-Event-ID` misses nothing. Where what it missed is not there any more, or it reads too
//! slowly, it is told to load everything again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use donjon_core::{Seq, TenantId};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::event_hub::{EventHub, Place, Telling, reload};
use crate::http::Shared;
use crate::http::auth::Caller;
use crate::http::error::ApiError;

/// Silence after which a comment keeps the connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Such a comment.
const COMMENT: Bytes = Bytes::from_static(b":\n\n");
/// A file in the plugin directory came, changed or went.
const PLUGIN_CHANGE: Bytes = Bytes::from_static(b"event: plugin-change\ndata: {}\n\n");

/// The routes of this module.
pub fn routes(hub: Arc<EventHub>) -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(events)).layer(Extension(hub))
}

/// Changes as they are committed: `incident-change`, `poll-alerts`, `rule-change`, `plugin-change`. Without an
/// `incident_id`, or with an empty list of fingerprints, everything may have changed.
#[utoipa::path(get, path = "/events", tag = "events",
    params(("Last-Event-ID" = Option<u64>, Header, description = "Continue after this event")),
    responses((status = 200, content_type = "text/event-stream"), (status = 400, description = "Last-Event-ID is no number"),
        (status = 503, description = "There are server.max_event_streams already, or the tenant has its share")))]
async fn events(
    State(app): State<Shared>,
    Extension(hub): Extension<Arc<EventHub>>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    caller.may_read()?;
    let asked = match headers.get("last-event-id").and_then(|value| value.to_str().ok()) {
        Some(text) => {
            let number = text.trim().parse::<u64>();
            Some(Seq(number.map_err(|_| {
                ApiError::bad_request(format!("Last-Event-ID must be a number, found: {text}"))
            })?))
        }
        None => None,
    };
    let place = hub.place(&caller.tenant).ok_or_else(ApiError::too_many_streams)?;
    // Followed first: what is told from here on is not missed.
    let news = hub.follow(&caller.tenant);
    let newest = *app.committed.borrow();
    let stream = EventStream {
        tenant: caller.tenant,
        follower: Follower {
            news,
            upto: asked.unwrap_or(newest).min(newest),
            behind: asked.is_some_and(|asked| asked < newest),
        },
        plugins: app.plugin_changes.clone(),
        stopping: app.stopping.clone(),
        // Ahead of what is applied: state went back and is being made again, or the data are others than they were.
        ahead: asked.is_some_and(|asked| asked > newest),
        hub,
        _place: place,
    };
    let body = futures::stream::unfold(stream, |mut stream| async move {
        let text = stream.next().await?;
        Some((Ok::<Bytes, Infallible>(text), stream))
    });
    let head = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((head, Body::from_stream(body)).into_response())
}

/// One client.
struct EventStream {
    hub: Arc<EventHub>,
    tenant: TenantId,
    follower: Follower,
    plugins: watch::Receiver<u64>,
    stopping: CancellationToken,
    /// It knows more than there is.
    ahead: bool,
    _place: Place,
}

impl EventStream {
    /// The next text to send; none ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.stopping.is_cancelled() {
                return None;
            }
            if std::mem::take(&mut self.ahead) {
                return Some(reload(self.follower.upto));
            }
            if self.follower.behind {
                let page = self.hub.catch_up(&self.tenant, self.follower.upto).await?;
                self.follower.upto = page.upto;
                self.follower.behind = !page.newest;
                if !page.text.is_empty() {
                    return Some(page.text);
                }
                continue;
            }
            tokio::select! {
                told = self.follower.news.recv() => match told {
                    Ok(telling) => if let Some(text) = self.follower.take(&telling) {
                        return Some(text);
                    },
                    Err(RecvError::Lagged(_)) => return Some(self.follower.overtaken()),
                    Err(RecvError::Closed) => return None,
                },
                changed = self.plugins.changed() => {
                    changed.ok()?;
                    return Some(PLUGIN_CHANGE);
                }
                () = tokio::time::sleep(KEEP_ALIVE) => return Some(COMMENT),
                () = self.stopping.cancelled() => return None,
            }
        }
    }
}

/// How far a client is, and what comes.
struct Follower {
    news: broadcast::Receiver<Arc<Telling>>,
    /// Everything up to this entry has been told.
    upto: Seq,
    /// There is something that nobody will tell it by itself.
    behind: bool,
}

impl Follower {
    /// What a telling has for this client.
    fn take(&mut self, telling: &Telling) -> Option<Bytes> {
        if telling.upto <= self.upto {
            return None;
        }
        if telling.after > self.upto {
            // Something was told before this client followed.
            self.behind = true;
            return None;
        }
        self.upto = telling.upto;
        Some(telling.text.clone())
    }

    /// It reads too slowly: what it missed is not kept for it.
    fn overtaken(&mut self) -> Bytes {
        // All that is still in the channel is older than what it will load.
        while let Ok(telling) = self.news.try_recv() {
            self.upto = self.upto.max(telling.upto);
        }
        self.news = self.news.resubscribe();
        reload(self.upto)
    }
}

#[cfg(test)]
mod tests {
    use super::super::event_hub::BEHIND;
    use super::*;

    #[test]
    fn a_client_that_reads_too_slowly_is_told_to_load_everything_again() {
        let (sender, news) = broadcast::channel(BEHIND);
        let mut follower = Follower {
            news,
            upto: Seq(3),
            behind: false,
        };
        let tell = |after: u64, upto: u64| {
            let text = Bytes::from(format!("news up to {upto}"));
            let (after, upto) = (Seq(after), Seq(upto));
            assert!(sender.send(Arc::new(Telling { after, upto, text })).is_ok());
        };
        let next = |follower: &mut Follower| match follower.news.try_recv() {
            Ok(telling) => follower.take(&telling),
            Err(broadcast::error::TryRecvError::Lagged(_)) => Some(follower.overtaken()),
            Err(_) => None,
        };
        // What it knows is not told again, what overlaps is.
        tell(0, 3);
        tell(2, 4);
        assert_eq!(
            (next(&mut follower), next(&mut follower)),
            (None, Some("news up to 4".into()))
        );
        // More than is kept for it: the memory that a slow reader costs is bounded.
        for at in 4..4 + 2 * BEHIND as u64 {
            tell(at, at + 1);
        }
        let newest = 4 + 2 * BEHIND as u64;
        assert_eq!(next(&mut follower), Some(reload(Seq(newest))));
        tell(newest, newest + 1);
        assert_eq!(next(&mut follower), Some(format!("news up to {}", newest + 1).into()));
        // A gap is read from the outbox.
        tell(newest + 5, newest + 6);
        assert_eq!((next(&mut follower), follower.behind), (None, true));
    }

    #[test]
    fn telling_to_load_everything_names_no_single_thing() {
        let text = String::from_utf8(reload(Seq(7)).to_vec()).unwrap();
        let expected = "event: incident-change\ndata: {}\n\nevent: rule-change\ndata: {}\n\n\
            event: poll-alerts\ndata: {\"fingerprints\":[]}\nid: 7\n\n";
        assert_eq!(text, expected);
    }
}
