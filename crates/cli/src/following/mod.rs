//! Following operations to their ends: bars on a terminal, lines elsewhere, events as JSON.
//!
//! The events of the service move a [`picture::Picture`]; what they might have missed is asked for after every
//! reconnect. The results of finished operations are taken (attach), so that the service may forget them.

pub(crate) mod away;
pub(crate) mod lines;
pub(crate) mod picture;
mod screen;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use longhaul_client::{Client, ClientError, DownloadQuery, Watch, Watched};
use longhaul_contract::{ErrorCode, Event, Operation, OperationId};
use tokio::time::{Instant, MissedTickBehavior};

use crate::connect::Context;
use crate::following::away::Away;
use crate::following::lines::Places;
use crate::following::picture::{News, Picture};
use crate::following::screen::Screen;
use crate::trouble::Trouble;

/// More operations than this are asked after by reading the whole list.
const ASKED_ONE_BY_ONE_MAX: usize = 64;
const PAGE: u32 = 1_000;
/// Calls that are under way at one time.
const CALLS_AT_ONCE: usize = 16;
const FRAME: Duration = Duration::from_millis(100);
/// Between two lines of progress where there are no bars.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(30);
/// How long the results of the last operations may take to be handed over.
const TAKING_DEADLINE: Duration = Duration::from_secs(10);
/// The same where somebody has pressed Ctrl-C.
const HASTY_TAKING_DEADLINE: Duration = Duration::from_secs(1);
/// Results that are taken by one call while others are still coming.
const TAKEN_AT_ONCE: usize = 500;
/// Rows of the terminal that are left to what scrolls.
const ROWS_LEFT_FREE: usize = 4;
const ROWS_MAX: usize = 16;

/// What following shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Showing {
    /// Bars, or lines where there is no terminal.
    Progress,
    Nothing,
    /// Every event of a followed operation, one JSON document a line.
    Events,
}

/// Why following ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Every operation has ended or waits for its caller.
    Settled,
    /// Ctrl-C.
    Interrupted,
}

/// Gives those whose results are still to be taken.
type Taking = Pin<Box<dyn Future<Output = Result<Vec<OperationId>, ClientError>>>>;

pub(crate) struct Following<'a> {
    context: &'a Context,
    client: Client,
    watch: Watch,
    pub(crate) picture: Picture,
    showing: Showing,
    /// Whether results are taken.
    takes: bool,
    screen: Option<Screen>,
    places: Places,
    folder: Option<PathBuf>,
    begin: Instant,
    to_take: Vec<OperationId>,
    takings: FuturesUnordered<Taking>,
    /// The parts of a snapshot that is not whole yet.
    snapshot: HashSet<OperationId>,
    away: Option<Away>,
}

impl<'a> Following<'a> {
    pub(crate) fn new(
        context: &'a Context,
        client: Client,
        watch: Watch,
        picture: Picture,
        showing: Showing,
    ) -> Self {
        let has_bars = showing == Showing::Progress && context.console.is_err_terminal;
        Self {
            context,
            client,
            watch,
            picture,
            showing,
            takes: false,
            screen: has_bars.then(Screen::new),
            places: Places::default(),
            folder: std::env::current_dir().ok(),
            begin: Instant::now(),
            to_take: Vec::new(),
            takings: FuturesUnordered::new(),
            snapshot: HashSet::new(),
            away: None,
        }
    }

    /// Takes the results of what ends.
    pub(crate) fn taking_results(mut self) -> Self {
        self.takes = true;
        self
    }

    /// Waits until the event stream stands, so that nothing that happens from now on is missed.
    pub(crate) async fn connected(&mut self) -> Result<(), Trouble> {
        loop {
            match self.watch.next().await? {
                Some(Watched::Connected) => return Ok(()),
                Some(Watched::Event(event)) => self.take_event(event).await?,
                Some(Watched::Lost { error, .. }) => self.lost(error).await?,
                None => return Err(ended_watch()),
            }
        }
    }

    /// Asks how the followed operations are now: many by reading the list, the rest one by one.
    pub(crate) async fn refresh(&mut self) -> Result<(), Trouble> {
        let mut ids: HashSet<OperationId> = self.picture.unfinished().into_iter().collect();
        if ids.len() > ASKED_ONE_BY_ONE_MAX {
            let mut pages =
                self.client.operations(DownloadQuery { limit: Some(PAGE), ..DownloadQuery::default() });
            loop {
                match pages.next().await {
                    Ok(Some(page)) => {
                        let followed =
                            page.into_iter().filter(|operation| self.picture.follows(operation.id));
                        for operation in followed.collect::<Vec<_>>() {
                            ids.remove(&operation.id);
                            self.take(operation)?;
                        }
                    }
                    Ok(None) => break,
                    Err(error) if error.is_passing() => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        self.ask_each(ids.into_iter().collect()).await
    }

    async fn ask_each(&mut self, ids: Vec<OperationId>) -> Result<(), Trouble> {
        let handle = |id| (id, self.client.transfer(self.picture.kind(id), id));
        let transfers: Vec<_> = ids.into_iter().map(handle).collect();
        let mut answers = futures_util::stream::iter(transfers)
            .map(|(id, transfer)| async move { (id, transfer.get().await) })
            .buffer_unordered(CALLS_AT_ONCE);
        while let Some((id, answer)) = answers.next().await {
            match answer {
                Ok(operation) => self.take(operation)?,
                Err(error) if error.code() == Some(ErrorCode::NotFound) => {
                    let news = self.picture.remove(id);
                    self.tell(news.as_ref());
                }
                // The event stream notices the loss as well and asks again when it stands.
                Err(error) if error.is_passing() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Follows to the end, or until Ctrl-C.
    pub(crate) async fn run(&mut self) -> Result<Ending, Trouble> {
        let result = self.follow().await;
        if let Some(screen) = &mut self.screen {
            screen.clear();
        }
        let ending = result?;
        let patience = match ending {
            Ending::Settled => TAKING_DEADLINE,
            Ending::Interrupted => HASTY_TAKING_DEADLINE,
        };
        if tokio::time::timeout(patience, self.take_rest()).await.is_err() {
            self.context
                .console
                .say("The service is slow to hand over the results; `longhaul ls` shows them.");
        }
        if self.showing == Showing::Progress {
            let view = self.context.console.err_view();
            if let Some(line) = lines::summary(&self.picture, self.begin.elapsed().as_secs(), &view) {
                self.context.console.say(&line);
            }
        }
        Ok(ending)
    }

    async fn follow(&mut self) -> Result<Ending, Trouble> {
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut progress = tokio::time::interval_at(self.begin + PROGRESS_INTERVAL, PROGRESS_INTERVAL);
        let has_lines = self.showing == Showing::Progress && self.screen.is_none();
        let interrupted = tokio::signal::ctrl_c();
        tokio::pin!(interrupted);
        while !self.picture.is_settled() {
            tokio::select! {
                biased;
                _ = &mut interrupted => return Ok(Ending::Interrupted),
                _ = frames.tick(), if self.screen.is_some() => self.draw(),
                watched = self.watch.next() => match watched? {
                    Some(watched) => self.take_watched(watched).await?,
                    None => return Err(ended_watch()),
                },
                Some(taken) = self.takings.next() => self.taken(taken)?,
                _ = progress.tick(), if has_lines => self.say_progress(),
            }
        }
        Ok(Ending::Settled)
    }

    async fn take_watched(&mut self, watched: Watched) -> Result<(), Trouble> {
        match watched {
            Watched::Event(event) => self.take_event(event).await,
            Watched::Lost { error, .. } => self.lost(error).await,
            Watched::Connected => {
                if self.away.take().is_some_and(|away| away.is_told()) {
                    self.say("The service is there again.");
                }
                self.refresh().await
            }
        }
    }

    async fn lost(&mut self, error: ClientError) -> Result<(), Trouble> {
        self.snapshot.clear();
        let away = self.away.get_or_insert_with(Away::begin);
        let remark = away.look_after(self.context, error).await?;
        if let Some(remark) = remark {
            self.say(&remark);
        }
        Ok(())
    }

    async fn take_event(&mut self, event: Event) -> Result<(), Trouble> {
        if self.showing == Showing::Events
            && let Some(event) = self.followed_part(&event)
        {
            self.context.console.json_line(&event)?;
        }
        match event {
            Event::Operation { operation } => self.take(*operation)?,
            Event::Progress { id, progress } => self.picture.progress(id, progress),
            Event::Removed { id } => {
                let news = self.picture.remove(id);
                self.tell(news.as_ref());
            }
            Event::Snapshot { operations, is_last, .. } => {
                for operation in operations {
                    self.snapshot.insert(operation.id);
                    self.take(operation)?;
                }
                if is_last {
                    let seen = std::mem::take(&mut self.snapshot);
                    if self.picture.unfinished().iter().any(|id| !seen.contains(id)) {
                        self.refresh().await?;
                    }
                }
            }
            // What was missed is asked for, whether or not a snapshot is among the watched kinds.
            Event::Resync => self.refresh().await?,
            Event::RangesAdded(_)
            | Event::Task { .. }
            | Event::TaskRemoved { .. }
            | Event::Instance { .. }
            | Event::InstanceProgress { .. } => {}
        }
        Ok(())
    }

    /// What of an event concerns the followed operations.
    fn followed_part(&self, event: &Event) -> Option<Event> {
        let is_followed = match event {
            Event::Resync => true,
            Event::Operation { operation } => self.picture.follows(operation.id),
            Event::Removed { id } | Event::Progress { id, .. } => self.picture.follows(*id),
            Event::RangesAdded(added) => self.picture.follows(added.id),
            Event::Task { .. }
            | Event::TaskRemoved { .. }
            | Event::Instance { .. }
            | Event::InstanceProgress { .. } => false,
            Event::Snapshot { operations, is_last, .. } => {
                let operations = operations
                    .iter()
                    .filter(|operation| self.picture.follows(operation.id))
                    .cloned()
                    .collect();
                return Some(Event::Snapshot { operations, tasks: Vec::new(), is_last: *is_last });
            }
        };
        is_followed.then(|| event.clone())
    }

    fn take(&mut self, operation: Operation) -> Result<(), Trouble> {
        let news = self.picture.take(operation);
        self.tell(news.as_ref());
        if let Some(News::Ended(operation)) = news
            && self.takes
        {
            self.to_take.push(operation.id);
            self.fill_takings(TAKEN_AT_ONCE);
        }
        Ok(())
    }

    fn tell(&self, news: Option<&News>) {
        if self.showing != Showing::Progress {
            return;
        }
        let view = self.context.console.err_view();
        let has_bars = self.screen.is_some();
        let line = news.and_then(|news| lines::news(news, self.folder.as_deref(), has_bars, &view));
        if let Some(line) = line {
            self.say(&line);
        }
    }

    fn say(&self, line: &str) {
        match &self.screen {
            Some(screen) => screen.print(line),
            None if self.showing == Showing::Nothing => {}
            None => self.context.console.say(line),
        }
    }

    fn draw(&mut self) {
        let Some(screen) = &mut self.screen else { return };
        let rows = self.context.console.err_height().saturating_sub(ROWS_LEFT_FREE).clamp(1, ROWS_MAX);
        let view = self.context.console.err_view();
        screen.show(&lines::bars(&self.picture, &mut self.places, rows, &view));
    }

    fn say_progress(&mut self) {
        let view = self.context.console.err_view();
        if let Some(line) = lines::bars(&self.picture, &mut self.places, 1, &view).last() {
            self.context.console.say(line);
        }
    }

    /// One call takes many results, and only one is under way: meanwhile the next ones gather.
    fn fill_takings(&mut self, least: usize) {
        if self.takings.is_empty() && self.to_take.len() >= least.max(1) {
            let (client, ids) = (self.client.clone(), std::mem::take(&mut self.to_take));
            self.takings.push(Box::pin(async move {
                let taken: HashSet<OperationId> = client.attach_downloads(&ids).await?.into_iter().collect();
                Ok(ids.into_iter().filter(|id| !taken.contains(id)).collect())
            }));
        }
    }

    /// A result that could not be taken stays with the service, which is no reason to fail.
    fn taken(&mut self, taken: Result<Vec<OperationId>, ClientError>) -> Result<(), Trouble> {
        match taken {
            // What is canceled counts as over while its bytes are still being deleted.
            Ok(left) => self.take_each(left),
            Err(error) if error.is_passing() => {}
            // A service that was started before an update of this program may not know the call.
            Err(error) if matches!(error.code(), Some(ErrorCode::NotFound | ErrorCode::MethodNotAllowed)) => {
            }
            Err(error) => return Err(error.into()),
        }
        self.fill_takings(TAKEN_AT_ONCE);
        Ok(())
    }

    fn take_each(&mut self, ids: Vec<OperationId>) {
        for id in ids {
            let transfer = self.client.transfer(self.picture.kind(id), id);
            self.takings.push(Box::pin(async move {
                transfer.attach_within(Duration::ZERO).await?;
                Ok(Vec::new())
            }));
        }
    }

    async fn take_rest(&mut self) {
        self.fill_takings(1);
        while let Some(taken) = self.takings.next().await {
            // The downloads have ended well or badly whatever becomes of their results.
            let _ = self.taken(taken);
            self.fill_takings(1);
        }
    }
}

fn ended_watch() -> Trouble {
    Trouble::new(crate::Exit::Internal, "the watch ended without a reason")
}
