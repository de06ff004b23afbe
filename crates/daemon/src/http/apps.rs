//! Applications: what is kept of them, what their manifests say, and their tokens.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use longhaul_contract::manifest::EntryPoint;
use longhaul_contract::service::{App, AppEntryPoint, CreateToken, NewToken};
use longhaul_contract::{AppId, ErrorCode, Page, Scope, Timestamp};
use longhaul_engine::{Engine, Now};
use longhaul_store::{Reader, StoreError, TokenWrite, Write};

use super::extract::AppName;
use super::json::{Json, json};
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::apps::Apps;
use crate::identity::new_token;

/// Applications that have operations, groups, tokens, tasks, an access status or a manifest.
#[utoipa::path(
    get,
    path = "/apps",
    tag = "service",
    operation_id = "listApps",
    responses((status = 200, description = "All applications, by name", body = Page<App>), Problems)
)]
pub(crate) async fn list(State(rooms): State<Arc<Rooms>>) -> Answer<Json<Page<App>>> {
    let apps = Arc::clone(&rooms.apps);
    let found = rooms
        .read(move |reader| {
            let mut ids = reader.applications()?;
            ids.extend(apps.installed());
            ids.sort();
            ids.dedup();
            ids.into_iter().map(|app| look(reader, &apps, app)).collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let count = move |engine: &Engine, _: Now| {
        found.into_iter().map(|app| with_counts(engine, app)).collect::<Vec<_>>()
    };
    let mut items = rooms.heart.ask(count).await?;
    for app in &mut items {
        app.foreground_only = rooms.foreground.is_restricted(&app.id);
    }
    Ok(Json(Page { items, next_cursor: None }))
}

/// One application.
#[utoipa::path(
    get,
    path = "/apps/{id}",
    tag = "service",
    operation_id = "getApp",
    params(("id" = AppId, Path, description = "The application")),
    responses((status = 200, description = "The application", body = App), Problems)
)]
pub(crate) async fn get(State(rooms): State<Arc<Rooms>>, AppName(app): AppName) -> Answer<Json<App>> {
    let (apps, asked) = (Arc::clone(&rooms.apps), app.clone());
    let (is_stored, found) = rooms
        .read(move |reader| Ok((reader.applications()?.contains(&asked), look(reader, &apps, asked)?)))
        .await?;
    if !is_stored && found.entry_points.is_none() && found.manifest_problem.is_none() {
        return Err(Refused::new(ErrorCode::NotFound, format!("nothing is kept of an application {app}")));
    }
    let found = App { foreground_only: rooms.foreground.is_restricted(&found.id), ..found };
    rooms.heart.ask(move |engine, _| with_counts(engine, found)).await.map(Json)
}

/// What the store and the manifest say; the counts are the engine's.
fn look(reader: &dyn Reader, apps: &Apps, id: AppId) -> Result<App, StoreError> {
    let tokens = reader.tokens(&id)?;
    let count = tokens.len() as u64;
    let mut scopes: Vec<Scope> = tokens.into_iter().flatten().collect();
    scopes.sort();
    scopes.dedup();
    let (manifest, manifest_problem) = match apps.manifest(&id) {
        Ok(manifest) => (manifest, None),
        Err(error) => (None, Some(error.to_string())),
    };
    Ok(App {
        name: manifest.as_ref().and_then(|manifest| manifest.app.name.clone()),
        entry_points: manifest.map(|manifest| manifest.entry_points.iter().map(entry_point).collect()),
        manifest_problem,
        tokens: count,
        scopes,
        ..App::new(id)
    })
}

fn entry_point(entry_point: &EntryPoint) -> AppEntryPoint {
    AppEntryPoint {
        class: entry_point.class.clone(),
        kind: entry_point.kind().map(|kind| kind.word().to_owned()).unwrap_or_default(),
        triggers: entry_point.triggers.clone(),
    }
}

fn with_counts(engine: &Engine, app: App) -> App {
    let tasks = engine.task_ids(&app.id, None).len()
        + engine
            .task_groups(&app.id)
            .iter()
            .map(|group| engine.task_ids(&app.id, Some(group)).len())
            .sum::<usize>();
    App {
        live_operations: engine.live_operations(Some(&app.id)),
        access: engine.access(&app.id),
        tasks: tasks as u64,
        ..app
    }
}

/// Makes a token for calls over TCP. This answer is the only one that ever shows it.
#[utoipa::path(
    post,
    path = "/apps/{id}/tokens",
    tag = "service",
    operation_id = "createToken",
    params(("id" = AppId, Path, description = "The application it will speak for")),
    request_body = CreateToken,
    responses((status = 201, description = "The token", body = NewToken), Problems)
)]
pub(crate) async fn create_token(
    State(rooms): State<Arc<Rooms>>,
    AppName(app): AppName,
    Json(body): Json<CreateToken>,
) -> Answer<Response> {
    let mut scopes = body.scopes;
    scopes.sort();
    scopes.dedup();
    if scopes.is_empty() {
        return Err(Refused::new(ErrorCode::InvalidField, "a token needs a scope").with_field("/scopes"));
    }
    let (token, hash) = new_token();
    let write = TokenWrite { hash, app, scopes: scopes.clone(), created: Timestamp::now() };
    rooms.writer.submit(vec![Write::Token(write)]).await?;
    Ok(json(StatusCode::CREATED, &NewToken { token, scopes }))
}
