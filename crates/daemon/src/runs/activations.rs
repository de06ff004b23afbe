//! Connected programs that serve entry points themselves, and the activations they are given.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longhaul_contract::instance::Activation;
use longhaul_contract::{AppId, CancelReason, InstanceId};
use longhaul_engine::Fact;
use longhaul_engine::task::TaskFact;
use tokio::sync::{mpsc, watch};

use crate::heart::{Heart, Life};

type Number = u64;

/// Who listens, and what runs in whom.
pub(crate) struct Activations {
    heart: Heart,
    book: Mutex<Book>,
}

#[derive(Default)]
struct Book {
    life: Life,
    last: Number,
    programs: HashMap<Number, Listener>,
    running: HashMap<InstanceId, Given>,
}

struct Listener {
    app: AppId,
    classes: BTreeSet<String>,
    sender: mpsc::UnboundedSender<Activation>,
}

/// An activation that is not over.
struct Given {
    app: AppId,
    activation: Activation,
    /// The program that runs it; `None` while that one is away.
    to: watch::Sender<Option<Number>>,
}

/// A program's place among those that listen; it leaves when this is dropped.
pub(crate) struct Program {
    number: Number,
    activations: Arc<Activations>,
}

impl Activations {
    pub(super) fn new(heart: Heart) -> Self {
        Self { heart, book: Mutex::default() }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The engine of a new life knows of no program.
    pub(super) fn begin_life(&self, life: Life) {
        let mut book = self.book();
        book.life = life;
        for (app, class) in book.served() {
            self.report(&book, &app, &class, true);
        }
    }

    /// A program of `app` serves these classes from now on. What ran in one that has gone is given to it again.
    pub(crate) fn connect(
        self: &Arc<Self>,
        app: AppId,
        classes: BTreeSet<String>,
    ) -> (Program, mpsc::UnboundedReceiver<Activation>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut book = self.book();
        let served = book.served();
        book.last += 1;
        let number = book.last;
        for given in book.running.values() {
            let is_served = given.app == app && classes.contains(&given.activation.entry_point);
            if is_served && given.to.borrow().is_none() {
                // The receiver is in our hands.
                let _ = sender.send(given.activation.clone());
                given.to.send_replace(Some(number));
            }
        }
        for class in classes.iter().filter(|class| !served.contains(&(app.clone(), (*class).clone()))) {
            self.report(&book, &app, class, true);
        }
        book.programs.insert(number, Listener { app, classes, sender });
        drop(book);
        (Program { number, activations: Arc::clone(self) }, receiver)
    }

    fn disconnect(&self, number: Number) {
        let mut book = self.book();
        let Some(gone) = book.programs.remove(&number) else { return };
        for given in book.running.values() {
            if *given.to.borrow() == Some(number) {
                given.to.send_replace(None);
            }
        }
        let served = book.served();
        for class in
            gone.classes.iter().filter(|class| !served.contains(&(gone.app.clone(), (*class).clone())))
        {
            self.report(&book, &gone.app, class, false);
        }
    }

    fn report(&self, book: &Book, app: &AppId, class: &str, is_connected: bool) {
        let fact = TaskFact::Serving { app: app.clone(), class: class.into(), is_connected };
        self.heart.report(Some(book.life), Fact::Task(fact));
    }

    /// Gives an activation to a program that serves its class; the receiver says in whom it runs from then on.
    pub(super) fn begin(&self, app: &AppId, activation: Activation) -> watch::Receiver<Option<Number>> {
        let mut book = self.book();
        let serving = book
            .programs
            .iter()
            .find(|(_, listener)| listener.app == *app && listener.classes.contains(&activation.entry_point));
        let to = serving
            .filter(|(_, listener)| listener.sender.send(activation.clone()).is_ok())
            .map(|(number, _)| *number);
        let (to, receiver) = watch::channel(to);
        book.running.insert(activation.instance_id, Given { app: app.clone(), activation, to });
        receiver
    }

    /// Tells the program that the run has to end.
    pub(super) fn cancel(&self, instance: InstanceId, reason: CancelReason) {
        let mut book = self.book();
        let Some(given) = book.running.get_mut(&instance) else { return };
        given.activation.cancel_reason = Some(reason);
        let (activation, to) = (given.activation.clone(), *given.to.borrow());
        if let Some(listener) = to.and_then(|number| book.programs.get(&number)) {
            // A program that has just gone is told when it comes back.
            let _ = listener.sender.send(activation);
        }
    }

    pub(super) fn end(&self, instance: InstanceId) {
        self.book().running.remove(&instance);
    }
}

impl Book {
    fn served(&self) -> BTreeSet<(AppId, String)> {
        let listeners = self.programs.values();
        listeners
            .flat_map(|listener| listener.classes.iter().map(|class| (listener.app.clone(), class.clone())))
            .collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.activations.disconnect(self.number);
    }
}
