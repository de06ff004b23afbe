//! What was asked for, whatever the kind of operation.

use serde::{Deserialize, Serialize, Serializer};

use crate::{
    CreateDownload, CreateUpload, Credential, InputCallback, Notification, OperationKind, PatchDownload,
};

/// The specification of an operation. Its JSON is that of what is inside: the kind is told beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spec {
    Download(Box<CreateDownload>),
    Upload(Box<CreateUpload>),
}

impl Spec {
    /// # Errors
    /// The text is not the JSON of a specification of this kind.
    pub fn from_json(kind: OperationKind, text: &str) -> serde_json::Result<Self> {
        fn parse<T: for<'de> Deserialize<'de>>(text: &str) -> serde_json::Result<Box<T>> {
            serde_json::from_str(text).map(Box::new)
        }
        match kind {
            OperationKind::Download => parse(text).map(Self::Download),
            OperationKind::Upload => parse(text).map(Self::Upload),
        }
    }

    #[must_use]
    pub const fn kind(&self) -> OperationKind {
        match self {
            Self::Download(_) => OperationKind::Download,
            Self::Upload(_) => OperationKind::Upload,
        }
    }

    #[must_use]
    pub fn requested_uri(&self) -> &str {
        match self {
            Self::Download(spec) => &spec.requested_uri,
            Self::Upload(spec) => &spec.requested_uri,
        }
    }

    #[must_use]
    pub fn label(&self) -> Option<&str> {
        match self {
            Self::Download(spec) => spec.label.as_deref(),
            Self::Upload(spec) => spec.label.as_deref(),
        }
    }

    /// The file that is made, or the files that are sent.
    #[must_use]
    pub fn files(&self) -> Vec<&str> {
        match self {
            Self::Download(spec) => vec![&spec.result_file],
            Self::Upload(spec) => spec.files().collect(),
        }
    }

    /// What is said of proxies: an address or `none`, the credential for it, and hosts that are reached without.
    #[must_use]
    pub fn proxying(&self) -> (Option<&str>, Option<&Credential>, Option<&[String]>) {
        let (proxy, credential, exempt) = match self {
            Self::Download(spec) => (&spec.proxy, &spec.proxy_credential, &spec.no_proxy),
            Self::Upload(spec) => (&spec.proxy, &spec.proxy_credential, &spec.no_proxy),
        };
        (proxy.as_deref(), credential.as_ref(), exempt.as_deref())
    }

    /// Who is asked for what it needs.
    #[must_use]
    pub fn input_callback(&self) -> Option<&InputCallback> {
        match self {
            Self::Download(spec) => spec.input_callback.as_ref(),
            Self::Upload(_) => None,
        }
    }

    /// What to show when it is completed, and when it has failed.
    #[must_use]
    pub fn into_notifications(self) -> (Option<Notification>, Option<Notification>) {
        match self {
            Self::Download(spec) => (spec.success_notification, spec.failure_notification),
            Self::Upload(spec) => (spec.success_notification, spec.failure_notification),
        }
    }

    /// Merges a patch: what the patch leaves out stays.
    pub fn apply(&mut self, patch: PatchDownload) {
        match self {
            Self::Download(spec) => spec.apply(patch),
            Self::Upload(spec) => spec.apply(patch),
        }
    }
}

impl From<CreateDownload> for Spec {
    fn from(spec: CreateDownload) -> Self {
        Self::Download(Box::new(spec))
    }
}

impl From<CreateUpload> for Spec {
    fn from(spec: CreateUpload) -> Self {
        Self::Upload(Box::new(spec))
    }
}

impl Serialize for Spec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Download(spec) => spec.serialize(serializer),
            Self::Upload(spec) => spec.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_comes_back_from_its_json() {
        for spec in [
            Spec::from(CreateDownload::new("http://a/", "/a")),
            Spec::from(CreateUpload::new("http://a/", "/a")),
        ] {
            let text = serde_json::to_string(&spec).unwrap();
            assert_eq!(Spec::from_json(spec.kind(), &text).unwrap(), spec);
        }
    }
}
