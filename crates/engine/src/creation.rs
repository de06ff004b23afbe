//! New operations, and changes to the settings of live ones.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use longhaul_contract::{
    AccessStatus, AppId, ErrorCode, GroupName, OperationId, PatchDownload, TransferStatus,
};

use crate::download::{Phase, Stopping};
use crate::engine::Engine;
use crate::group::takes_turns;
use crate::plan::{Change, Effect};
use crate::roster::{Settings, Slot, Standing};
use crate::row::{Origin, Row, StoredPhase};
use crate::step::Step;
use crate::task::TaskAnswer;
use crate::wish::{NewOperation, Refusal};
use longhaul_contract::ReasonCode;

/// Distance between neighbours in the queue, so that a block can be moved in between.
const ORDER_STEP: i64 = 1 << 20;

impl Engine {
    pub(crate) fn create(&mut self, step: &mut Step, operations: Vec<NewOperation>) -> Result<(), Refusal> {
        self.check_batch(step, &operations)?;
        for operation in operations {
            self.create_one(step, operation);
        }
        Ok(())
    }

    /// All or none: everything is checked before anything changes.
    fn check_batch(&mut self, step: &mut Step, operations: &[NewOperation]) -> Result<(), Refusal> {
        let mut per_app: BTreeMap<&AppId, (usize, BTreeSet<&GroupName>)> = BTreeMap::new();
        let mut ids = HashSet::new();
        let mut targets = HashSet::new();
        for (index, operation) in operations.iter().enumerate() {
            if self.roster.find(operation.id).is_some() || !ids.insert(operation.id) {
                return Err(Refusal::new(
                    ErrorCode::InvalidState,
                    format!("operation {} exists already", operation.id),
                )
                .of_operation(index));
            }
            if let Some(target) = operation.target
                && (self.targets.contains(&target) || !targets.insert(target))
            {
                return Err(Refusal::new(
                    ErrorCode::TargetInUse,
                    format!("another operation already makes {}", operation.spec.files().join(", ")),
                )
                .of_operation(index));
            }
            self.check_joining(operation).map_err(|refusal| refusal.of_operation(index))?;
            let (count, groups) = per_app.entry(&operation.app).or_default();
            *count += 1;
            let app = self.apps.find(&operation.app);
            let is_known =
                |name: &GroupName| app.is_some_and(|app| self.groups.find(&(app, name.clone())).is_some());
            groups.extend(operation.group.as_ref().filter(|name| !is_known(name)));
        }
        for (app, (count, groups)) in &per_app {
            let number = self.apps.find(app);
            let quota = self.policy.operations_per_application;
            let live = number.map_or(0, |number| self.apps[number].live);
            if live as usize + count > quota as usize {
                return Err(Refusal::new(
                    ErrorCode::Quota,
                    format!("{app} has {live} live operations, and its quota is {quota}"),
                ));
            }
            let group_quota = self.policy.groups_per_application as usize;
            let with_members = number
                .map_or(0, |number| self.apps[number].groups as usize - self.apps[number].empty_groups.len());
            if !groups.is_empty() && with_members + groups.len() > group_quota {
                return Err(Refusal::new(
                    ErrorCode::GroupQuota,
                    format!("{app} has {with_members} groups, and its quota is {group_quota}"),
                ));
            }
        }
        for (app, (_, groups)) in per_app {
            if let Some(number) = self.apps.find(app) {
                self.room_for_groups(step, number, groups.len())?;
            }
        }
        Ok(())
    }

    fn create_one(&mut self, step: &mut Step, operation: NewOperation) {
        let app = self.apps.number(operation.app.clone());
        let order = self.apps[app].order + ORDER_STEP;
        let phase = if operation.start { Phase::Queued } else { Phase::Idle };
        let row = Row {
            id: operation.id,
            kind: operation.kind,
            app: operation.app,
            group: operation.group,
            origin: operation.origin,
            target: operation.target,
            order,
            priority: operation.priority,
            cost_policy: operation.cost_policy,
            rate_limit: operation.rate_limit,
            not_before: operation.not_before,
            recoverable: operation.recoverable,
            phase: if operation.start { StoredPhase::Started } else { StoredPhase::Idle },
            fruitless_attempts: 0,
            has_bytes: false,
            completion_group: operation.completion_group,
            marks: operation.marks,
        };
        step.plan.changes.push(Change::Created {
            row: row.clone(),
            spec: operation.spec,
            time: step.now.wall,
        });
        let slot = self.hold(row, phase, false);
        self.roster[slot].since = step.now.wall;
        self.enter(step, slot);
        step.touch(&self.apps, &self.roster[slot]);
    }

    pub(crate) fn patch(
        &mut self,
        step: &mut Step,
        slot: Slot,
        patch: Box<PatchDownload>,
        origin: Option<Origin>,
    ) -> Result<(), Refusal> {
        let status = crate::explain::live(&self.question(slot, step.now)).status;
        if status.is_final() {
            return Err(Refusal::new(
                ErrorCode::InvalidState,
                format!("the operation is {status}: nothing can be changed any more"),
            ));
        }
        let may_renew = matches!(
            status,
            TransferStatus::Idle
                | TransferStatus::PausedByApplication
                | TransferStatus::PausedRecoverableWebErrorStatus
        );
        let renews = patch.requested_uri.is_some() || patch.part_uris.is_some();
        if renews && !may_renew {
            return Err(Refusal::new(
                ErrorCode::InvalidState,
                format!("the operation is {status}: pause it before giving it another address"),
            ));
        }
        let before = self.row(slot);
        if self.roster[slot].phase == Phase::Queued {
            self.close_wait(step, slot);
            self.dequeue(slot);
            self.apply(slot, &patch, origin);
            self.enqueue(step, slot);
            step.fresh.push(slot);
        } else {
            self.apply(slot, &patch, origin);
        }
        self.patch_worker(step, slot, &before, &patch);
        let id = before.id;
        let row = self.row(slot);
        step.plan.changes.push(Change::Patched { id, patch });
        if row != before {
            step.plan.changes.push(Change::Updated { row });
        }
        step.touch(&self.apps, &self.roster[slot]);
        Ok(())
    }

    /// The owner's word that an application is always allowed is the consent that this asks for [W 1.2].
    pub(crate) fn unconstrain(&mut self, step: &mut Step, app: &AppId, ids: &[OperationId]) {
        let is_unconstrained = self.access(app) == AccessStatus::AlwaysAllowed;
        step.plan.answer = Some(TaskAnswer::Unconstrained(is_unconstrained));
        if !is_unconstrained {
            return;
        }
        for slot in ids.iter().filter_map(|id| self.find(app, *id)).collect::<Vec<_>>() {
            let marks = self.roster[slot].marks().unconstrained();
            if marks == self.roster[slot].marks() || self.roster[slot].phase.status().is_final() {
                continue;
            }
            let is_queued = self.roster[slot].phase == Phase::Queued;
            if is_queued {
                self.close_wait(step, slot);
                self.dequeue(slot);
            }
            let settings = Settings { marks, ..Settings::from(&self.roster[slot].rare) };
            self.roster[slot].rare = settings.into();
            if is_queued {
                self.enqueue(step, slot);
                step.fresh.push(slot);
            }
            step.plan.changes.push(Change::Updated { row: self.row(slot) });
            step.touch(&self.apps, &self.roster[slot]);
        }
    }

    /// Writes the patch into the entry, which is in no index of the queue meanwhile.
    fn apply(&mut self, slot: Slot, patch: &PatchDownload, origin: Option<Origin>) {
        if let Some(origin) = origin {
            let is_local = origin.is_local;
            let number = self.origins.number(origin);
            self.origins[number] += 1;
            let old = std::mem::replace(&mut self.roster[slot].origin, number);
            self.release_origin(old);
            let entry = &mut self.roster[slot];
            entry.standing = Standing::new(is_local, entry.standing.is_held_back());
        }
        let is_running = self.roster[slot].phase.is_running();
        if let Some(priority) = patch.priority {
            let took_turns = takes_turns(self.roster[slot].priority);
            if is_running && took_turns != takes_turns(priority) && took_turns {
                self.count_running_member(slot, false);
            }
            self.roster[slot].priority = priority;
            if is_running && took_turns != takes_turns(priority) && !took_turns {
                self.count_running_member(slot, true);
            }
        }
        let entry = &mut self.roster[slot];
        entry.cost_policy = patch.cost_policy.unwrap_or(entry.cost_policy);
        if patch.requested_uri.is_some() || patch.part_uris.is_some() {
            entry.record.fruitless_attempts = 0;
            entry.record.stale_restarts = 0;
        }
        let mut settings = Settings::from(&entry.rare);
        if let Some(rate) = patch.rate_limit {
            settings.rate_limit = rate;
        }
        if let Some(statuses) = &patch.recoverable_web_error_statuses {
            settings.recoverable = (!statuses.is_empty()).then(|| Arc::from(statuses.as_slice()));
        }
        entry.rare = settings.into();
    }

    /// What a worker that runs now has to learn of the patch.
    fn patch_worker(&mut self, step: &mut Step, slot: Slot, before: &Row, patch: &PatchDownload) {
        let entry = &self.roster[slot];
        if !entry.phase.is_running() {
            return;
        }
        let rate = entry.rate_limit();
        if patch.rate_limit.is_some() && rate != before.rate_limit {
            step.plan.effects.push(Effect::SetRate { id: entry.id, bytes_per_second: rate });
        }
        let denied =
            self.gates.closed(entry.class(), step.now.boot).and_then(|closed| closed.denials.first());
        if rate == Some(0) {
            self.stop(step, slot, Stopping::Requeue(ReasonCode::RateLimitZero));
        } else if let Some(code) = denied {
            self.stop(step, slot, Stopping::Requeue(code));
        }
        // A High member that ran beside another one now takes turns with it.
        let overtakes =
            self.serial_group(&self.roster[slot]).is_some_and(|group| self.groups[group].running > 1);
        if overtakes && before.priority != self.roster[slot].priority {
            self.stop(step, slot, Stopping::Requeue(ReasonCode::GroupSerialized));
        }
    }
}
