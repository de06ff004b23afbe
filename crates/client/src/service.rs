//! The machine, its limits, and the service itself.

use http::Method;
use longhaul_contract::host::PutHostSignal;
use longhaul_contract::trigger::ConditionStanding;
use longhaul_contract::{Health, HostSignal, HostState, Limits, Page};

use crate::{Client, ClientError};

impl Client {
    /// Every signal of the machine that decisions look at.
    ///
    /// # Errors
    /// As every call.
    pub async fn host(&self) -> Result<HostState, ClientError> {
        self.get("/host").await
    }

    /// Sets a signal by hand, in place of its source, until [`Client::unset_host_signal`]. The values are those of
    /// [`HostSignal`].
    ///
    /// # Errors
    /// `invalid-field` for a value that the signal cannot have, `forbidden` without the scope `admin`.
    pub async fn set_host_signal(&self, signal: HostSignal, value: &str) -> Result<(), ClientError> {
        let body = PutHostSignal { value: value.to_owned() };
        self.tell(Method::PUT, format!("/host/{}", signal.word()), &body).await
    }

    /// Gives a signal back to its source.
    ///
    /// # Errors
    /// `forbidden` without the scope `admin`.
    pub async fn unset_host_signal(&self, signal: HostSignal) -> Result<(), ClientError> {
        self.answer(&self.outgoing(Method::DELETE, format!("/host/{}", signal.word()))).await.map(drop)
    }

    /// Whether each condition holds now, by the rules that start tasks.
    ///
    /// # Errors
    /// As every call.
    pub async fn conditions(&self) -> Result<Vec<ConditionStanding>, ClientError> {
        let page: Page<ConditionStanding> = self.get("/host/conditions").await?;
        Ok(page.items)
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
