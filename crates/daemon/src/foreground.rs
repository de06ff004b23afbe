//! Which applications may transfer only in the foreground, by their owner's word, and which are there now: those that have
//! a stream of events or of activations open. Deliberately absent: what follows for their transfers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longhaul_contract::AppId;
use longhaul_engine::Fact;
use longhaul_store::{Reader, StoreError, Write, Writer};

use crate::heart::Heart;
use crate::http::{Answer, Refused};

/// The setting of the store that holds the owner's word.
const SETTING: &str = "foregroundOnly";

/// A reader that loses its connection has this long to come back.
const LEAVING: Duration = Duration::from_secs(2);

/// The applications that the store names.
pub(crate) fn kept(reader: &dyn Reader) -> Result<BTreeSet<AppId>, StoreError> {
    let Some(text) = reader.setting(SETTING)? else { return Ok(BTreeSet::new()) };
    serde_json::from_str(&text).map_err(|error| StoreError::CannotRead(error.to_string()))
}

pub(crate) struct ForegroundDesk {
    heart: Heart,
    writer: Writer,
    state: Mutex<State>,
    /// One owner at a time: what is kept is what holds.
    turn: tokio::sync::Mutex<()>,
}

struct State {
    restricted: BTreeSet<AppId>,
    /// Open streams.
    present: BTreeMap<AppId, usize>,
}

impl State {
    fn is_held_back(&self, app: &AppId) -> bool {
        self.restricted.contains(app) && !self.present.contains_key(app)
    }
}

impl ForegroundDesk {
    pub(crate) fn new(heart: Heart, writer: Writer, restricted: BTreeSet<AppId>) -> Self {
        let state = Mutex::new(State { restricted, present: BTreeMap::new() });
        Self { heart, writer, state, turn: tokio::sync::Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_restricted(&self, app: &AppId) -> bool {
        self.state().restricted.contains(app)
    }

    /// The engine hears what holds now; under the lock, so that it hears it in order.
    fn tell(&self, state: &State, app: &AppId) {
        let is_held_back = state.is_held_back(app);
        self.heart.report(None, Fact::HeldBack { app: app.clone(), is_held_back });
    }

    /// The owner's word. It is kept when this returns, and the engine has heard of it.
    pub(crate) async fn put(&self, app: &AppId, is_restricted: bool) -> Answer<()> {
        let _turn = self.turn.lock().await;
        let mut restricted = self.state().restricted.clone();
        let is_news = if is_restricted { restricted.insert(app.clone()) } else { restricted.remove(app) };
        if !is_news {
            return Ok(());
        }
        let value = serde_json::to_string(&restricted).map_err(|error| Refused::internal(&error))?;
        self.writer.submit(vec![Write::Setting { name: SETTING.to_owned(), value: Some(value) }]).await?;
        {
            let mut state = self.state();
            state.restricted = restricted;
            self.tell(&state, app);
        }
        self.heart.ask(|_, _| ()).await
    }

    /// A program of the application is there until this is dropped.
    pub(crate) fn enter(self: &Arc<Self>, app: AppId) -> Presence {
        let mut state = self.state();
        *state.present.entry(app.clone()).or_default() += 1;
        if state.restricted.contains(&app) {
            self.tell(&state, &app);
        }
        drop(state);
        Presence { desk: Arc::clone(self), app }
    }

    fn leave(&self, app: &AppId) {
        let mut state = self.state();
        if let Some(count) = state.present.get_mut(app) {
            *count -= 1;
            if *count == 0 {
                state.present.remove(app);
                if state.restricted.contains(app) {
                    self.tell(&state, app);
                }
            }
        }
    }
}

/// A program of an application that is there.
pub(crate) struct Presence {
    desk: Arc<ForegroundDesk>,
    app: AppId,
}

impl Drop for Presence {
    fn drop(&mut self) {
        let (desk, app) = (Arc::clone(&self.desk), self.app.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(LEAVING).await;
                desk.leave(&app);
            });
        }
    }
}
