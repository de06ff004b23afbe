//! The public calls over HTTP: routes, what every request passes, bodies and refusals.

mod access;
mod activations;
mod apps;
mod commands;
mod completion_groups;
mod content;
mod content_range;
mod creation;
mod details;
mod downloads;
mod events;
mod extract;
mod groups;
mod guard;
mod host;
mod instance_protocol;
mod json;
mod list;
mod objects;
mod policy;
mod problems;
mod push;
mod refused;
mod rooms;
mod serve;
mod service;
mod supposition;
mod task_control;
mod task_instances;
mod task_output;
mod task_rooms;
mod tasks;
mod upload_commands;
mod upload_details;
mod uploads;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use longhaul_contract::{ErrorCode, HostSignal, Problem};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use guard::Names;
pub(crate) use push::details_of_push;
pub(crate) use refused::{Answer, Refused};
pub(crate) use rooms::Rooms;
pub(crate) use serve::{Door, serve};

/// State of the handlers.
pub(crate) type App = Arc<Rooms>;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Longhaul",
        description = "Durable background transfers and background tasks: what is asked for is finished, and what is due is \
                       run, whatever happens in between.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(Problem, HostSignal)),
    tags(
        (name = "downloads", description = "Downloads of the calling application"),
        (name = "uploads", description = "Uploads of the calling application"),
        (name = "operations", description = "Downloads and uploads of the calling application"),
        (name = "groups", description = "Transfer groups of the calling application"),
        (name = "completion groups", description = "Sets of transfers whose common end fires a task"),
        (name = "access", description = "Whether applications may run in the background"),
        (name = "tasks", description = "Background tasks of the calling application"),
        (name = "instances", description = "Runs of tasks, and what running tasks say themselves"),
        (name = "triggers", description = "What starts tasks"),
        (name = "service", description = "The service, the machine and the applications"),
    )
)]
struct Contract;

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Contract::openapi())
        .routes(routes!(downloads::create, list::list))
        .routes(routes!(downloads::create_batch))
        .routes(routes!(downloads::get, downloads::change, downloads::delete))
        .routes(routes!(commands::start))
        .routes(routes!(commands::pause))
        .routes(routes!(commands::resume))
        .routes(routes!(commands::cancel))
        .routes(routes!(commands::make_current))
        .routes(routes!(commands::attach))
        .routes(routes!(commands::attach_batch))
        .routes(routes!(details::response))
        .routes(routes!(details::ranges))
        .routes(routes!(details::explain))
        .routes(routes!(details::receipt))
        .routes(routes!(details::verify))
        .routes(routes!(content::content))
        .merge(uploads())
        .routes(routes!(list::list_all))
        .routes(routes!(groups::list))
        .routes(routes!(groups::get, groups::put))
        .routes(routes!(completion_groups::list, completion_groups::create))
        .routes(routes!(completion_groups::get))
        .routes(routes!(completion_groups::enable))
        .routes(routes!(completion_groups::unconstrain))
        .routes(routes!(events::events))
        .routes(routes!(tasks::list, tasks::register))
        .routes(routes!(tasks::trigger_types))
        .routes(routes!(tasks::past))
        .routes(routes!(tasks::get, tasks::unregister))
        .routes(routes!(access::get, access::request, access::remove))
        .routes(routes!(task_control::request))
        .routes(routes!(task_control::run))
        .routes(routes!(task_control::explain))
        .routes(routes!(task_control::groups))
        .routes(routes!(task_control::group))
        .routes(routes!(task_instances::list))
        .routes(routes!(task_instances::get, task_instances::cancel))
        .routes(routes!(task_output::output))
        .routes(routes!(instance_protocol::progress))
        .routes(routes!(instance_protocol::defer))
        .routes(routes!(instance_protocol::complete_deferral))
        .routes(routes!(instance_protocol::complete))
        .routes(routes!(instance_protocol::cancellation))
        .routes(routes!(activations::activations))
        .routes(routes!(push::send))
        .routes(routes!(host::get))
        .routes(routes!(host::conditions))
        .routes(routes!(host::put, host::delete))
        .routes(routes!(service::limits, service::put_limits))
        .routes(routes!(apps::list))
        .routes(routes!(apps::get))
        .routes(routes!(access::put))
        .routes(routes!(policy::get, policy::put))
        .routes(routes!(apps::create_token))
        .routes(routes!(service::health))
        .routes(routes!(service::metrics))
        .routes(routes!(service::contract))
}

fn uploads() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(uploads::create, uploads::list))
        .routes(routes!(uploads::create_batch))
        .routes(routes!(uploads::get, uploads::change, uploads::delete))
        .routes(routes!(upload_commands::start))
        .routes(routes!(upload_commands::pause))
        .routes(routes!(upload_commands::resume))
        .routes(routes!(upload_commands::cancel))
        .routes(routes!(upload_commands::make_current))
        .routes(routes!(upload_commands::attach))
        .routes(routes!(upload_commands::attach_batch))
        .routes(routes!(upload_details::response))
        .routes(routes!(upload_details::response_body))
        .routes(routes!(upload_details::explain))
        .routes(routes!(upload_details::receipt))
}

/// The generated contract, pretty-printed with a newline at the end: `api/openapi.json`.
#[must_use]
pub fn openapi_json() -> String {
    let (_, contract) = routes().split_for_parts();
    let mut text = contract.to_pretty_json().expect("the contract is plain data");
    text.push('\n');
    text
}

/// All routes with all that every request passes.
pub(crate) fn router(rooms: &App) -> Router {
    let (router, _) = routes().split_for_parts();
    router
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(from_fn_with_state(Arc::clone(rooms), guard::guard))
        .layer(CatchPanicLayer::custom(after_panic))
        .with_state(Arc::clone(rooms))
}

async fn unknown_path() -> Refused {
    Refused::new(ErrorCode::NotFound, "there is no such path; see /openapi.json")
}

async fn unknown_method(method: http::Method) -> Refused {
    Refused::new(ErrorCode::MethodNotAllowed, format!("this path has no method {method}"))
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that the layer asks for")]
fn after_panic(panic: Box<dyn std::any::Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message");
    Refused::internal(&format!("a handler panicked: {message}")).into_response()
}
