//! Transfer groups.

use http::Method;
use longhaul_contract::group::PutGroup;
use longhaul_contract::{Group, GroupName, Page, TransferBehavior};

use crate::calls::segment;
use crate::{Client, ClientError};

const GROUPS: &str = "/background-transfers/groups";

impl Client {
    /// The groups of the application.
    ///
    /// # Errors
    /// As every call.
    pub async fn groups(&self) -> Result<Vec<Group>, ClientError> {
        let mut groups = Vec::new();
        let mut target = GROUPS.to_owned();
        loop {
            let page: Page<Group> = self.get(target).await?;
            groups.extend(page.items);
            let Some(cursor) = page.next_cursor else { return Ok(groups) };
            target = format!("{GROUPS}?cursor={}", segment(&cursor));
        }
    }

    /// # Errors
    /// `not-found` when the group has neither members nor a behaviour of its own.
    pub async fn group(&self, name: &GroupName) -> Result<Group, ClientError> {
        self.get(format!("{GROUPS}/{}", segment(name.as_str()))).await
    }

    /// Says how the members share time; makes the group where it is new.
    ///
    /// # Errors
    /// `group-quota` when there are too many names already.
    pub async fn put_group(
        &self,
        name: &GroupName,
        transfer_behavior: TransferBehavior,
    ) -> Result<Group, ClientError> {
        let target = format!("{GROUPS}/{}", segment(name.as_str()));
        self.call(Method::PUT, target, &PutGroup { transfer_behavior }).await
    }
}
