//! Completion groups, and the request to run free of what energy saver forbids.

use http::Method;
use longhaul_contract::completion::{Unconstrain, Unconstrained};
use longhaul_contract::{
    CompletionGroup, CompletionGroupDetail, CompletionGroupId, CreateCompletionGroup, OperationId, Page,
};

use crate::{Client, ClientError};

const COMPLETION_GROUPS: &str = "/background-transfers/completion-groups";

impl Client {
    /// Makes a set of transfers whose common end fires a task: register the task with a CompletionGroupTrigger, make the
    /// transfers with this group, then enable it.
    ///
    /// # Errors
    /// `completion-group-quota` when too many are not over.
    pub async fn create_completion_group(
        &self,
        spec: &CreateCompletionGroup,
    ) -> Result<CompletionGroup, ClientError> {
        self.call(Method::POST, COMPLETION_GROUPS, spec).await
    }

    /// The completion groups of the application, oldest first.
    ///
    /// # Errors
    /// As every call.
    pub async fn completion_groups(&self) -> Result<Vec<CompletionGroup>, ClientError> {
        let page: Page<CompletionGroup> = self.get(COMPLETION_GROUPS).await?;
        Ok(page.items)
    }

    /// One group with its members.
    ///
    /// # Errors
    /// `not-found`, also some days after it is over.
    pub async fn completion_group(
        &self,
        id: CompletionGroupId,
    ) -> Result<CompletionGroupDetail, ClientError> {
        self.get(format!("{COMPLETION_GROUPS}/{id}")).await
    }

    /// Closes the set: its task runs once all members have ended.
    ///
    /// # Errors
    /// `completion-group-enabled` when it is closed already.
    pub async fn enable_completion_group(
        &self,
        id: CompletionGroupId,
    ) -> Result<CompletionGroup, ClientError> {
        self.post(format!("{COMPLETION_GROUPS}/{id}/enable")).await
    }

    /// Asks that energy saver shall not hold these operations back; answers whether it does not, which is the owner's to
    /// decide.
    ///
    /// # Errors
    /// `not-found` when one of them is not the application's.
    pub async fn request_unconstrained(&self, operations: &[OperationId]) -> Result<bool, ClientError> {
        let body = Unconstrain { operations: operations.to_vec() };
        let answer: Unconstrained =
            self.call(Method::POST, "/background-transfers/unconstrained", &body).await?;
        Ok(answer.is_unconstrained)
    }
}
