//! Applications whose owner lets them transfer only while they are in the foreground (the rule of Xbox [W 5.2]). Deliberately
//! absent: what the foreground is; the shell sees it.

use longhaul_contract::{AppId, ReasonCode};

use crate::download::{Phase, Stopping};
use crate::engine::Engine;
use crate::roster::{Slot, Standing};
use crate::step::Step;

impl Engine {
    /// The operations of the application wait from now on, or wait no more.
    pub(crate) fn hold_back(&mut self, step: &mut Step, app: AppId, is_held_back: bool) {
        let number = self.apps.find(&app);
        let is_news = if is_held_back { self.held_back.insert(app) } else { self.held_back.remove(&app) };
        let Some(number) = number.filter(|_| is_news) else { return };
        let of_app = self.roster.iter().filter(|(_, entry)| entry.app == number);
        let slots: Vec<Slot> = of_app.map(|(slot, _)| slot).collect();
        for slot in slots {
            if self.roster[slot].phase == Phase::Queued {
                self.close_wait(step, slot);
                self.dequeue(slot);
                self.set_held_back(slot, is_held_back);
                self.enqueue(step, slot);
                step.fresh.push(slot);
            } else {
                self.set_held_back(slot, is_held_back);
            }
            if is_held_back && self.roster[slot].phase.is_running() {
                self.stop(step, slot, Stopping::Requeue(ReasonCode::ForegroundOnly));
            }
            step.touch(&self.apps, &self.roster[slot]);
        }
    }

    fn set_held_back(&mut self, slot: Slot, is_held_back: bool) {
        let entry = &mut self.roster[slot];
        entry.standing = Standing::new(entry.standing.is_local(), is_held_back);
    }
}
