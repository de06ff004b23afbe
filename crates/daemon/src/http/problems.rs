//! The refusals every route may answer, for the generated document.

use std::collections::BTreeMap;

use longhaul_contract::Problem;
use utoipa::openapi::{Content, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

/// Stands for all refusals in the list of a route's answers.
pub(crate) struct Problems;

const PROBLEMS: [(&str, &str); 13] = [
    ("400", "The request has a mistake that `field` and `detail` name"),
    ("401", "The token is missing or wrong"),
    ("403", "The caller may not do this"),
    ("404", "There is nothing here for this application"),
    ("406", "The answer cannot be given in an accepted type"),
    ("409", "The state of things does not allow it"),
    ("413", "The body is too large"),
    ("415", "The body is not JSON"),
    ("416", "The range lies behind the end of the file"),
    ("421", "The Host or Origin is not on the list of this service"),
    ("429", "Too many requests at one time"),
    ("500", "The service failed; `instance` names the case in its log"),
    ("503", "The service cannot write its records, or is stopping"),
];

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let content = || Content::new(Some(utoipa::openapi::Ref::from_schema_name(Problem::name())));
        PROBLEMS
            .into_iter()
            .map(|(status, description)| {
                let response = ResponseBuilder::new()
                    .description(description)
                    .content("application/problem+json", content())
                    .build();
                (status.to_owned(), response.into())
            })
            .collect()
    }
}
