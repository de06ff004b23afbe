//! By which interface a transfer goes.

use longhaul_contract::ErrorCode;
use longhaul_contract::download::ANY_INTERFACE;
use longhaul_transfer::Interface;

use super::form::invalid;
use super::place::Reach;
use crate::http::{Answer, Refused};

/// Of a new operation.
pub(super) fn check_interface(interface: &mut Option<String>) -> Answer<()> {
    interface.take_if(|word| word == ANY_INTERFACE);
    interface.as_deref().map_or(Ok(()), check_form)
}

/// Of a patch, which keeps the word `any`.
pub(super) fn check_new_interface(interface: Option<&str>, reach: Reach) -> Answer<()> {
    let interface = interface.filter(|word| *word != ANY_INTERFACE);
    interface.map_or(Ok(()), check_form)?;
    check_reach(interface, reach)
}

/// A confined caller goes where the routes of the machine lead: another way may cost more, or lead round what is watched.
pub(super) fn check_reach(interface: Option<&str>, reach: Reach) -> Answer<()> {
    if interface.is_none() || reach == Reach::Everywhere {
        return Ok(());
    }
    let detail = "a confined application cannot choose an interface: leave it out";
    Err(Refused::new(ErrorCode::Forbidden, detail).with_field("/interface"))
}

fn check_form(text: &str) -> Answer<()> {
    text.parse::<Interface>().map(drop).map_err(|error| invalid("/interface", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_is_none_and_the_rest_is_held_to_its_form() {
        let checked = |text: &str| {
            let mut interface = Some(text.to_owned());
            check_interface(&mut interface).map(|()| interface)
        };
        assert_eq!(checked("any").unwrap(), None);
        assert_eq!(checked("wg0").unwrap().as_deref(), Some("wg0"));
        let refused = checked("a/b").unwrap_err();
        assert_eq!(
            (refused.problem().code, refused.problem().field.as_deref()),
            (ErrorCode::InvalidField, Some("/interface"))
        );
    }

    #[test]
    fn a_confined_caller_chooses_none() {
        for (interface, reach, is_allowed) in [
            (None, Reach::Confined, true),
            (Some("any"), Reach::Confined, true),
            (Some("wg0"), Reach::Confined, false),
            (Some("192.0.2.7"), Reach::Confined, false),
            (Some("wg0"), Reach::Everywhere, true),
            (Some("a b"), Reach::Everywhere, false),
        ] {
            assert_eq!(check_new_interface(interface, reach).is_ok(), is_allowed, "{interface:?}");
        }
        assert_eq!(
            check_reach(Some("wg0"), Reach::Confined).unwrap_err().problem().code,
            ErrorCode::Forbidden
        );
    }
}
