//! Questions of "what if" to an explanation.

use longhaul_contract::Timestamp;

use crate::calls::segment;

/// What to suppose of the machine and of the time. With nothing in it, the question is about here and now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Supposition {
    /// Words of the service: `online`, `unmetered`, `ac`, `away` and so on; `GET /openapi.json` lists them.
    pub conditions: Vec<String>,
    pub at: Option<Timestamp>,
}

impl Supposition {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty() && self.at.is_none()
    }

    /// `/explain` with its query.
    pub(crate) fn target(&self) -> String {
        let mut parts = Vec::new();
        if !self.conditions.is_empty() {
            parts.push(format!("if={}", segment(&self.conditions.join(","))));
        }
        parts.extend(self.at.map(|at| format!("at={}", segment(&at.to_string()))));
        if parts.is_empty() { "/explain".to_owned() } else { format!("/explain?{}", parts.join("&")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_has_what_is_supposed() {
        assert_eq!(Supposition::default().target(), "/explain");
        let supposed =
            Supposition { conditions: vec!["ac".to_owned(), "unmetered".to_owned()], at: Some(Timestamp(0)) };
        assert_eq!(supposed.target(), "/explain?if=ac%2Cunmetered&at=1970-01-01T00%3A00%3A00Z");
    }
}
