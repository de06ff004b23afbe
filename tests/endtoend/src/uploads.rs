//! Uploads as a caller makes and sees them.

use longhaul_lab::{Content, wait_until};
use serde_json::{Value, json};

use crate::{DEADLINE, House, id_of, status_of};

pub const UPLOADS: &str = "/background-transfers/uploads";

impl House {
    /// Makes a file to send, and the body that asks for it to be sent to `url` by `method`.
    #[must_use]
    pub fn upload_spec(&self, method: &str, url: &str, name: &str, content: Content) -> Value {
        let file = self.result(name);
        content.write_to(&file);
        json!({ "requestedUri": url, "method": method, "sourceFile": file })
    }

    /// Creates an upload and returns its id.
    #[must_use]
    #[track_caller]
    pub fn create_upload(&self, spec: &Value) -> String {
        let answer = self.api().post(UPLOADS, spec).expect("the service answers").expect_status(201);
        id_of(&answer.json())
    }

    #[must_use]
    #[track_caller]
    pub fn upload(&self, id: &str) -> Value {
        self.call("GET", &format!("{UPLOADS}/{id}")).expect_status(200).json()
    }

    /// What a sub-resource of the upload holds, such as `receipt`.
    #[must_use]
    #[track_caller]
    pub fn of_upload(&self, id: &str, what: &str) -> Value {
        self.call("GET", &format!("{UPLOADS}/{id}/{what}")).expect_status(200).json()
    }

    /// Gives a command such as `pause`, which must be obeyed.
    #[track_caller]
    pub fn command_upload(&self, id: &str, command: &str) -> Value {
        self.call("POST", &format!("{UPLOADS}/{id}/{command}")).expect_status(200).json()
    }

    /// Waits until the upload has this status; panics as soon as it has ended otherwise.
    #[track_caller]
    pub fn wait_for_upload(&self, id: &str, status: &str) -> Value {
        wait_until(&format!("status {status} of {id}"), DEADLINE, || {
            let operation = self.upload(id);
            let now = status_of(&operation);
            let is_final = ["Completed", "Canceled", "Error"].contains(&now.as_str());
            assert!(!is_final || now == status, "{operation:#}\n{}", self.log());
            (now == status).then_some(operation)
        })
    }

    /// Waits until so many bytes have left.
    #[track_caller]
    pub fn wait_for_sent(&self, id: &str, bytes: u64) {
        wait_until(&format!("{bytes} bytes of {id} sent"), DEADLINE, || {
            let operation = self.upload(id);
            assert_ne!(operation["status"], "Error", "{operation:#}");
            (sent(&operation) >= bytes).then_some(())
        });
    }
}

#[must_use]
pub fn sent(operation: &Value) -> u64 {
    operation["progress"]["bytesSent"].as_u64().unwrap_or(0)
}
