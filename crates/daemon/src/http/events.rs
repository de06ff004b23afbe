//! `GET /events`: a snapshot, then numbered changes, as server-sent events (HTML Living Standard, section 9.2).
//!
//! A reader has a number and nothing else: what it is told is built when it can take it. Whoever is too slow, comes
//! back too late or has a number of another life of the service is told `resync` and gets a new snapshot.

use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::HeaderMap;
use longhaul_contract::{
    AppId, BackgroundTask, ErrorCode, Event, EventKind, Instance, InstanceId, Operation, OperationId,
    OperationKind, Progress, TaskId,
};
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::extract::Parameters;
use super::list::snapshot_page;
use super::problems::Problems;
use super::refused::{Answer, Refused};
use super::rooms::Rooms;
use crate::foreground::Presence;
use crate::identity::Caller;
use crate::metrics::Counted;
use crate::news::{Found, Item};
use crate::task_view;

const LAST_EVENT_ID: &str = "last-event-id";
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Between samples of progress, while anything runs.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

/// Changes turned into events at one time.
const CHUNK: usize = 200;

/// So many changes at one time are a crowd: the next ones gather for a moment, because an operation that changes
/// several times within it is told once.
const CROWD: usize = 16;
const GATHERING: Duration = Duration::from_millis(50);

/// What to be told.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Subscription {
    /// Kinds of events, separated by commas; all when absent. Without `snapshot` there is none at the start;
    /// `resync` is always told. `downloads` or `uploads` among them leaves the operations of the other kind out.
    kinds: Option<String>,
    /// `*` watches all applications; only for the owner on the Unix socket.
    app: Option<String>,
}

/// Watches the application's operations and tasks.
#[utoipa::path(
    get,
    path = "/events",
    tag = "downloads",
    operation_id = "watchEvents",
    params(
        Subscription,
        ("Last-Event-ID" = Option<String>, Header, description = "The `id:` to go on behind")
    ),
    responses(
        (status = 200, description = "Server-sent events; each `data:` is one Event", body = Event,
            content_type = "text/event-stream"),
        Problems
    )
)]
pub(crate) async fn events(
    State(rooms): State<Arc<Rooms>>,
    caller: Caller,
    Parameters(subscription): Parameters<Subscription>,
    headers: HeaderMap,
) -> Answer<Response> {
    let app = match subscription.app.as_deref() {
        None => Some(caller.app.clone()),
        Some("*") => caller.need_owner().map(|()| None)?,
        Some(_) => return Err(refuse("app", "only * is known here; Longhaul-App names one")),
    };
    let kinds = kinds(subscription.kinds.as_deref())?;
    let room = Arc::clone(&rooms.streams).try_acquire_owned().map_err(|_| {
        Refused::new(ErrorCode::TooManyRequests, "too many readers of events and content at one time")
    })?;
    let last = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok());
    let reader = Reader::new(rooms, app, kinds, last, room);
    let messages = stream::unfold(reader, |mut reader| async move {
        let message = reader.next().await?;
        Some((Ok::<_, Infallible>(message), reader))
    });
    Ok(Sse::new(messages).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

fn refuse(field: &str, detail: &str) -> Refused {
    Refused::new(ErrorCode::InvalidParameter, detail).with_field(field)
}

/// What `?kinds=` asks for.
struct Kinds {
    events: HashSet<EventKind>,
    /// Only operations of this kind; of all when there is none.
    operations: Option<OperationKind>,
}

fn kinds(text: Option<&str>) -> Answer<Kinds> {
    let all = || EventKind::ALL.iter().copied().collect();
    let Some(text) = text else { return Ok(Kinds { events: all(), operations: None }) };
    let mut events = HashSet::new();
    let (mut downloads, mut uploads) = (false, false);
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match (word, EventKind::ALL.iter().find(|kind| kind.word() == word)) {
            (_, Some(kind)) => {
                events.insert(*kind);
            }
            ("downloads", None) => downloads = true,
            ("uploads", None) => uploads = true,
            _ => return Err(refuse("kinds", &format!("{word:?} is no kind of event or operation"))),
        }
    }
    let operations = match (downloads, uploads) {
        (true, false) => Some(OperationKind::Download),
        (false, true) => Some(OperationKind::Upload),
        (true, true) | (false, false) => None,
    };
    let names_operations_only = events.is_empty() && (downloads || uploads);
    Ok(Kinds { events: if names_operations_only { all() } else { events }, operations })
}

enum Place {
    /// In the middle of a snapshot, behind this operation.
    Snapshot(Option<OperationId>),
    Following,
}

struct Reader {
    rooms: Arc<Rooms>,
    app: Option<AppId>,
    kinds: HashSet<EventKind>,
    /// Only operations of this kind.
    operations: Option<OperationKind>,
    place: Place,
    /// Everything up to here has been told or is on its way.
    number: u64,
    waiting: VecDeque<Message>,
    news: watch::Receiver<u64>,
    workers: watch::Receiver<usize>,
    runs: watch::Receiver<usize>,
    stopping: watch::Receiver<bool>,
    sampled: HashMap<OperationId, Progress>,
    sampled_runs: HashMap<InstanceId, u32>,
    next_sample: Instant,
    /// Until when changes gather before they are looked at.
    gathers_until: Option<Instant>,
    _room: OwnedSemaphorePermit,
    /// Who watches all applications is the owner, and none of them.
    _presence: Option<Presence>,
    _counted: Counted,
}

impl Reader {
    fn new(
        rooms: Arc<Rooms>,
        app: Option<AppId>,
        Kinds { events: kinds, operations }: Kinds,
        last: Option<&str>,
        room: OwnedSemaphorePermit,
    ) -> Self {
        let number = rooms.news.newest();
        let has_snapshot = kinds.contains(&EventKind::Snapshot);
        let mut reader = Self {
            news: rooms.news.subscribe(),
            workers: rooms.workers.subscribe(),
            runs: rooms.runs.subscribe(),
            stopping: rooms.stopping.clone(),
            _counted: Counted::new(&rooms.metrics.streams),
            _presence: app.clone().map(|app| rooms.foreground.enter(app)),
            rooms,
            app,
            kinds,
            operations,
            place: if has_snapshot { Place::Snapshot(None) } else { Place::Following },
            number,
            waiting: VecDeque::new(),
            sampled: HashMap::new(),
            sampled_runs: HashMap::new(),
            next_sample: Instant::now(),
            gathers_until: None,
            _room: room,
        };
        if let Some(last) = last {
            reader.resume(last);
        }
        reader
    }

    /// Goes on behind `last` if that is still possible.
    fn resume(&mut self, last: &str) {
        let number = last
            .rsplit_once('-')
            .filter(|(boot, _)| *boot == self.rooms.boot)
            .and_then(|(_, number)| number.parse().ok());
        match number {
            Some(number) if matches!(self.since(number).1, Found::Items(_)) => {
                self.number = number;
                self.place = Place::Following;
            }
            _ => self.resync(),
        }
    }

    fn since(&self, number: u64) -> (u64, Found) {
        self.rooms.news.since(self.app.as_ref(), number)
    }

    /// The picture begins anew at the present number.
    fn resync(&mut self) {
        self.number = self.rooms.news.newest();
        self.push(&Event::Resync, Some(self.number));
        if self.kinds.contains(&EventKind::Snapshot) {
            self.place = Place::Snapshot(None);
        }
    }

    fn push(&mut self, event: &Event, number: Option<u64>) {
        let message = Message::default().event(event.kind().word());
        let message = match number {
            Some(number) => message.id(format!("{}-{number}", self.rooms.boot)),
            None => message,
        };
        match message.json_data(event) {
            Ok(message) => self.waiting.push_back(message),
            Err(error) => tracing::error!(%error, "an event cannot be written"),
        }
    }

    /// The next message; `None` ends the stream, and a reader that comes back goes on where it was.
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return Some(message);
            }
            if *self.stopping.borrow() {
                return None;
            }
            let told = match self.place {
                Place::Snapshot(after) => self.tell_snapshot(after).await,
                Place::Following => self.tell_news().await,
            };
            told.ok()?;
            if self.waiting.is_empty() && matches!(self.place, Place::Following) {
                self.wait().await;
            }
        }
    }

    async fn tell_snapshot(&mut self, after: Option<OperationId>) -> Answer<()> {
        let (operations, next) = snapshot_page(&self.rooms, self.app.clone(), self.operations, after).await?;
        let tasks = if after.is_none() { self.all_tasks().await? } else { Vec::new() };
        let is_last = next.is_none();
        // Going on behind a part would lose the other parts, so only the last one has a number.
        self.push(&Event::Snapshot { operations, tasks, is_last }, is_last.then_some(self.number));
        self.place = if is_last { Place::Following } else { Place::Snapshot(next) };
        Ok(())
    }

    async fn tell_news(&mut self) -> Answer<()> {
        self.news.borrow_and_update();
        let (newest, found) = self.since(self.number);
        let Found::Items(mut items) = found else {
            self.resync();
            return Ok(());
        };
        let upto = if items.len() > CHUNK {
            items.truncate(CHUNK);
            items.last().map_or(newest, |(number, _)| *number)
        } else {
            newest
        };
        let views = self.views(&items).await?;
        if items.len() >= CROWD {
            self.gathers_until = Some(Instant::now() + GATHERING);
        }
        for (number, item) in items {
            // Without a view it has been forgotten meanwhile, which is told at its own place.
            let event = match item {
                Item::Removed(id) => Some(Event::Removed { id }),
                Item::RangesAdded(added) => Some(Event::RangesAdded((*added).clone())),
                Item::TaskRemoved(task_id) => Some(Event::TaskRemoved { task_id }),
                Item::Touched(_) | Item::Task(_) | Item::Instance(_) => views.event(&item),
                Item::Everything => None,
            };
            if let Some(event) = event.filter(|event| self.kinds.contains(&event.kind())) {
                self.push(&event, Some(number));
            }
        }
        self.number = upto;
        Ok(())
    }

    async fn all_tasks(&self) -> Answer<Vec<BackgroundTask>> {
        let apps = match &self.app {
            Some(app) => vec![app.clone()],
            None => self.rooms.read(|reader| reader.applications()).await?,
        };
        let mut tasks = Vec::new();
        for app in apps {
            tasks.extend(self.rooms.all_task_views(app).await?);
        }
        Ok(tasks)
    }

    /// The views of all that some item names, as of now.
    async fn views(&self, items: &[(u64, Item)]) -> Answer<Views> {
        let mut asked = Asked::default();
        for (_, item) in items {
            match item {
                Item::Touched(id) => asked.operations.push(*id),
                Item::Task(id) => asked.tasks.push(*id),
                Item::Instance(id) => asked.instances.push(*id),
                Item::Removed(_) | Item::RangesAdded(_) | Item::TaskRemoved(_) | Item::Everything => {}
            }
        }
        let mut views = Views::default();
        if self.kinds.contains(&EventKind::Operation) && !asked.operations.is_empty() {
            let ids = asked.operations;
            let records = self.rooms.read(move |reader| reader.operations(&ids)).await?;
            let found = self.rooms.views(records).await?.into_iter();
            let is_asked = |view: &Operation| self.operations.is_none_or(|kind| kind == view.kind);
            views.operations = found.filter(is_asked).map(|view| (view.id, view)).collect();
        }
        if self.kinds.contains(&EventKind::Task) && !asked.tasks.is_empty() {
            let found = self.rooms.task_views(asked.tasks).await?;
            views.tasks = found.into_iter().map(|view| (view.id, view)).collect();
        }
        if self.kinds.contains(&EventKind::Instance) && !asked.instances.is_empty() {
            let ids = asked.instances;
            let read = move |reader: &dyn longhaul_store::Reader| {
                ids.into_iter().map(|id| reader.instance(id)).collect::<Result<Vec<_>, _>>()
            };
            let found = self.rooms.read(read).await?.into_iter().flatten();
            let found = found.map(|instance| task_view::instance(instance, &self.rooms.runs));
            views.instances = found.map(|view| (view.id, view)).collect();
        }
        Ok(views)
    }

    /// Waits for something to tell. Nothing ticks while nothing runs.
    async fn wait(&mut self) {
        let of_operations = self.kinds.contains(&EventKind::Progress);
        let of_instances = self.kinds.contains(&EventKind::InstanceProgress);
        let is_running = of_operations && self.rooms.workers.is_running(self.app.as_ref())
            || of_instances && !self.rooms.runs.progress(self.app.as_ref()).is_empty();
        let gathers_until = self.gathers_until;
        let news = async {
            if let Some(time) = gathers_until {
                tokio::time::sleep_until(time).await;
            }
            self.news.changed().await
        };
        tokio::select! {
            changed = news => drop(changed),
            changed = self.workers.changed(), if of_operations => drop(changed),
            changed = self.runs.changed(), if of_instances => drop(changed),
            stops = self.stopping.changed() => drop(stops),
            () = tokio::time::sleep_until(self.next_sample), if is_running => self.sample(),
        }
    }

    fn sample(&mut self) {
        self.next_sample = Instant::now() + SAMPLE_INTERVAL;
        if self.kinds.contains(&EventKind::Progress) {
            let now = self.rooms.workers.progress(self.app.as_ref(), self.operations);
            let is_news = |(id, progress): &&(OperationId, Progress)| self.sampled.get(id) != Some(progress);
            let changed: Vec<_> = now.iter().filter(is_news).copied().collect();
            self.sampled = now.into_iter().collect();
            for (id, progress) in changed {
                self.push(&Event::Progress { id, progress }, None);
            }
        }
        if self.kinds.contains(&EventKind::InstanceProgress) {
            let now = self.rooms.runs.progress(self.app.as_ref());
            let is_news = |(_, id, progress): &&(TaskId, InstanceId, u32)| {
                self.sampled_runs.get(id).copied().unwrap_or_default() != *progress
            };
            let changed: Vec<_> = now.iter().filter(is_news).copied().collect();
            self.sampled_runs = now.into_iter().map(|(_, id, progress)| (id, progress)).collect();
            for (task_id, instance_id, progress) in changed {
                self.push(&Event::InstanceProgress { task_id, instance_id, progress }, None);
            }
        }
    }
}

/// What items name.
#[derive(Default)]
struct Asked {
    operations: Vec<OperationId>,
    tasks: Vec<TaskId>,
    instances: Vec<InstanceId>,
}

#[derive(Default)]
struct Views {
    operations: HashMap<OperationId, Operation>,
    tasks: HashMap<TaskId, BackgroundTask>,
    instances: HashMap<InstanceId, Instance>,
}

impl Views {
    fn event(&self, item: &Item) -> Option<Event> {
        Some(match item {
            Item::Touched(id) => Event::Operation { operation: Box::new(self.operations.get(id)?.clone()) },
            Item::Task(id) => Event::Task { task: Box::new(self.tasks.get(id)?.clone()) },
            Item::Instance(id) => Event::Instance { instance: Box::new(self.instances.get(id)?.clone()) },
            Item::Removed(_) | Item::RangesAdded(_) | Item::TaskRemoved(_) | Item::Everything => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_words_of_the_contract() {
        assert_eq!(kinds(None).unwrap().events.len(), EventKind::ALL.len());
        let chosen = kinds(Some("operation, removed")).unwrap();
        assert_eq!(chosen.events, HashSet::from([EventKind::Operation, EventKind::Removed]));
        assert_eq!(chosen.operations, None);
        let refused = kinds(Some("everything")).err().unwrap();
        assert_eq!(refused.problem().code, ErrorCode::InvalidParameter);
    }

    #[test]
    fn kinds_of_operations_are_chosen_beside_them() {
        let chosen = |text| kinds(Some(text)).map(|chosen| (chosen.events.len(), chosen.operations)).unwrap();
        let all = EventKind::ALL.len();
        assert_eq!(chosen("uploads"), (all, Some(OperationKind::Upload)));
        assert_eq!(chosen("downloads,uploads"), (all, None));
        assert_eq!(chosen("snapshot,downloads"), (1, Some(OperationKind::Download)));
    }
}
