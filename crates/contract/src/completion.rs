//! BackgroundTransferCompletionGroup: a set of transfers whose common end fires a task.

use serde::{Deserialize, Serialize};

use crate::{CompletionGroupId, Operation, OperationId, TaskId, Timestamp};

/// What is shown to the user when something is over (successToastNotification, failureToastNotification).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Notification {
    /// One line of 1 to 256 characters.
    #[schema(min_length = 1, max_length = 256)]
    pub title: String,
    /// Up to 4096 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4096)]
    pub body: Option<String>,
}

impl Notification {
    /// # Errors
    /// Says what is wrong with it, for a person.
    pub fn check(&self) -> Result<(), String> {
        let length = self.title.chars().count();
        if !(1..=256).contains(&length) || self.title.chars().any(char::is_control) {
            return Err("the title must be one line of 1 to 256 characters".to_owned());
        }
        let body = self.body.as_deref().unwrap_or_default();
        if body.chars().count() > 4096 || body.chars().any(|c| c.is_control() && c != '\n') {
            return Err("the body must be text of at most 4096 characters".to_owned());
        }
        Ok(())
    }
}

/// Body of `POST /background-transfers/completion-groups`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct CreateCompletionGroup {
    /// Shown once, when all members have completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success_notification: Option<Notification>,
    /// Shown once, when all members are over and one of them has failed or was canceled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_notification: Option<Notification>,
}

/// A completion group as its application sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CompletionGroup {
    pub id: CompletionGroupId,
    /// The set is closed: nothing can join it any more (IsEnabled).
    pub is_enabled: bool,
    /// It is enabled and all its members have ended: its trigger has fired, and never fires again.
    pub is_over: bool,
    /// Members that are not final.
    pub live_operations: u64,
    /// The task that its end fires, until it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    pub created_time: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled_time: Option<Timestamp>,
    /// When it came to be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_time: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_notification: Option<Notification>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_notification: Option<Notification>,
}

/// A completion group with its members, except for those that were deleted or forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CompletionGroupDetail {
    #[serde(flatten)]
    pub group: CompletionGroup,
    pub downloads: Vec<Operation>,
    pub uploads: Vec<Operation>,
}

/// What the task of a CompletionGroupTrigger gets on its standard input
/// (BackgroundTransferCompletionGroupTriggerDetails).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CompletionDetails {
    pub completion_group: CompletionGroupId,
    /// With their final states, oldest first.
    pub downloads: Vec<Operation>,
    pub uploads: Vec<Operation>,
}

/// Body of `POST /background-transfers/unconstrained`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Unconstrain {
    /// 1 to 1,000 operations of the application; those that are over are passed over.
    #[schema(min_items = 1, max_items = 1000)]
    pub operations: Vec<OperationId>,
}

/// UnconstrainedTransferRequestResult.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Unconstrained {
    /// The owner has consented, and energy saver does not hold the operations back until they end.
    pub is_unconstrained: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_are_text_of_bounded_length() {
        let notification = |title: &str, body: &str| Notification {
            title: title.to_owned(),
            body: (!body.is_empty()).then(|| body.to_owned()),
        };
        assert_eq!(notification("Photos", "All\nare there").check(), Ok(()));
        for (title, body) in [("", ""), ("a\nb", ""), (&"x".repeat(257), ""), ("a", "\u{1b}[m")] {
            assert!(notification(title, body).check().is_err(), "{title:?} {body:?}");
        }
    }
}
