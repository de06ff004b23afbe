//! Applications and their tokens.

use http::Method;
use longhaul_contract::service::{AppPolicy, CreateToken};
use longhaul_contract::task::PutAccess;
use longhaul_contract::{AccessStatus, App, AppId, NewToken, Page, Scope};

use crate::calls::segment;
use crate::{Client, ClientError};

impl Client {
    /// # Errors
    /// `forbidden` without the scope `admin`.
    pub async fn apps(&self) -> Result<Vec<App>, ClientError> {
        let mut apps = Vec::new();
        let mut target = "/apps".to_owned();
        loop {
            let page: Page<App> = self.get(target).await?;
            apps.extend(page.items);
            let Some(cursor) = page.next_cursor else { return Ok(apps) };
            target = format!("/apps?cursor={}", segment(&cursor));
        }
    }

    /// The owner's decision whether an application may run in the background; `Unspecified` takes it back.
    ///
    /// # Errors
    /// `forbidden` without the scope `admin`.
    pub async fn put_access(&self, app: &AppId, status: AccessStatus) -> Result<(), ClientError> {
        let target = format!("/apps/{}/access", segment(app.as_str()));
        self.tell(Method::PUT, target, &PutAccess { status }).await
    }

    /// The owner's word on an application's transfers.
    ///
    /// # Errors
    /// `forbidden` without the scope `admin`.
    pub async fn put_policy(&self, app: &AppId, policy: AppPolicy) -> Result<(), ClientError> {
        self.tell(Method::PUT, format!("/apps/{}/policy", segment(app.as_str())), &policy).await
    }

    /// # Errors
    /// `forbidden` without the scope `admin`.
    pub async fn policy(&self, app: &AppId) -> Result<AppPolicy, ClientError> {
        self.get(format!("/apps/{}/policy", segment(app.as_str()))).await
    }

    /// Makes a token for calls over TCP. The answer is the only place that ever shows it.
    ///
    /// # Errors
    /// `forbidden` over TCP: only the owner's Unix socket makes tokens.
    pub async fn create_token(&self, app: &AppId, scopes: &[Scope]) -> Result<NewToken, ClientError> {
        let body = CreateToken { scopes: scopes.to_vec() };
        self.call(Method::POST, format!("/apps/{}/tokens", segment(app.as_str())), &body).await
    }
}
