//! BackgroundTransferGroup.

use serde::{Deserialize, Serialize};

use crate::GroupName;
use crate::status::numbered_enum;

numbered_enum! {
    /// How the members of a group share time (BackgroundTransferBehavior).
    TransferBehavior {
        Parallel = 0,
        /// At most one member of Default priority at a time.
        Serialized = 1,
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    pub name: GroupName,
    pub transfer_behavior: TransferBehavior,
    /// Members that are not final.
    pub live_operations: u64,
}

/// Body of `PUT /background-transfers/groups/{name}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PutGroup {
    pub transfer_behavior: TransferBehavior,
}
