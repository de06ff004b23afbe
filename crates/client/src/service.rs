//! The machine, its limits, and the service itself.

use http::Method;
use longhaul_contract::{Health, HostState, Limits};

use crate::{Client, ClientError};

impl Client {
    /// Every signal of the machine that decisions look at.
    ///
    /// # Errors
    /// As every call.
    pub async fn host(&self) -> Result<HostState, ClientError> {
        self.get("/host").await
    }

    /// # Errors
    /// As every call.
    pub async fn limits(&self) -> Result<Limits, ClientError> {
        self.get("/limits").await
    }

    /// Replaces all limits.
    ///
    /// # Errors
    /// `invalid-field` for a window or zone that does not exist, `forbidden` without the scope `admin`.
    pub async fn put_limits(&self, limits: &Limits) -> Result<Limits, ClientError> {
        self.call(Method::PUT, "/limits", limits).await
    }

    /// # Errors
    /// As every call.
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.get("/healthz").await
    }
}
