//! What making operations of both kinds has in common: admission in a thread that may block, and the answer.

use std::sync::Arc;

use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use longhaul_contract::{ErrorCode, OperationId, OperationKind, Progress, Timestamp};
use longhaul_engine::{NewOperation, Wish};

use super::json::json;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::admission::Look;
use crate::identity::Caller;
use crate::view::{self, Times};

/// Operations in one batch.
pub(super) const BATCH_MAX: usize = 1000;

/// Makes an operation of a specification whose form and place it has checked.
pub(super) type Admit<S> = fn(&Caller, &mut Look<'_>, OperationId, S) -> Answer<NewOperation>;

/// Checks form and place of new operations; the index names the one that is refused.
pub(super) async fn admit<S: Send + 'static>(
    rooms: &Arc<Rooms>,
    caller: &Caller,
    specs: Vec<S>,
    admit_one: Admit<S>,
) -> Result<Vec<NewOperation>, (usize, Refused)> {
    let rooms = Arc::clone(rooms);
    let caller = caller.clone();
    let admitted = tokio::task::spawn_blocking(move || {
        let mut look = rooms.places.look(&caller.app, caller.reach);
        let now = Timestamp::now();
        specs
            .into_iter()
            .enumerate()
            .map(|(index, spec)| {
                let id = rooms.ids.next(now);
                admit_one(&caller, &mut look, id, spec).map_err(|refused| (index, refused))
            })
            .collect()
    });
    admitted.await.map_err(|error| (0, Refused::internal(&error)))?
}

/// Makes the one operation of a call, and answers with its view and its path.
pub(super) async fn create_one(rooms: &Rooms, mut made: Vec<NewOperation>) -> Answer<Response> {
    let Some(operation) = made.pop() else {
        return Err(Refused::internal(&"a granted creation has no operation"));
    };
    let (id, spec) = (operation.id, operation.spec.clone());
    let granted = rooms.heart.wish(Wish::Create(vec![operation])).await.map_err(Refused::of_the_only_one)?;
    let Some(now) = granted.live.into_iter().next().flatten() else {
        return Err(Refused::internal(&"a granted creation is not live"));
    };
    let folder = match spec.kind() {
        OperationKind::Download => "downloads",
        OperationKind::Upload => "uploads",
    };
    let times = Times { created: granted.time, started: None, completed: None, consumed: None };
    let view = view::of_spec(id, spec, times, now.into(), Progress::default());
    let mut response = json(StatusCode::CREATED, &view);
    let location = format!("/background-transfers/{folder}/{id}");
    let location = HeaderValue::try_from(location).map_err(|error| Refused::internal(&error))?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

pub(super) fn check_batch(count: usize) -> Answer<()> {
    if (1..=BATCH_MAX).contains(&count) {
        return Ok(());
    }
    let detail = format!("a batch has 1 to {BATCH_MAX} operations");
    Err(Refused::new(ErrorCode::InvalidField, detail).with_field("/operations"))
}
