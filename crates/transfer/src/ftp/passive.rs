//! Where an FTP server waits for the data connection.

/// The port of an answer to EPSV (RFC 2428 section 3).
pub(super) fn extended_port(text: &str) -> Option<u16> {
    let inner = text[text.rfind('(')? + 1..].split(')').next()?;
    let mark = inner.chars().next()?;
    let fields: Vec<&str> = inner.split(mark).collect();
    let ["", "", "", port, ""] = fields[..] else { return None };
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    port.parse().ok().filter(|port| *port != 0)
}

/// The port of an answer to PASV (RFC 1123 section 4.1.2.6: there may be no brackets). Its address is not looked at:
/// it would let a server have us connect to others.
pub(super) fn port(text: &str) -> Option<u16> {
    let is_inside = |letter: char| letter.is_ascii_digit() || letter == ',';
    let list = text.split(|letter| !is_inside(letter)).find(|part| part.split(',').count() == 6)?;
    let numbers: Vec<u8> = list.split(',').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    let port = u16::from_be_bytes([numbers[4], numbers[5]]);
    (port != 0).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_and_nothing_else_is_believed() {
        for (text, expected) in [
            ("Entering Extended Passive Mode (|||6446|)", Some(6446)),
            ("ok (!!!21!).", Some(21)),
            ("(|||0|)", None),
            ("(|||65536|)", None),
            ("(|||+5|)", None),
            ("(|1|127.0.0.1|5|)", None),
            ("(|||5|6|)", None),
            ("no brackets |||5|", None),
            ("(", None),
            ("()", None),
        ] {
            assert_eq!(extended_port(text), expected, "{text}");
        }
        for (text, expected) in [
            ("Entering Passive Mode (127,0,0,1,4,1).", Some(1025)),
            ("Entering Passive Mode. 10,0,0,1,200,10", Some(51210)),
            ("=192,168,1,1,0,21", Some(21)),
            ("(1,2,3,4,5)", None),
            ("(1,2,3,4,5,6,7)", None),
            ("(1,2,3,4,256,1)", None),
            ("(1,2,3,4,0,0)", None),
            ("(1,2,3,,4,5)", None),
        ] {
            assert_eq!(port(text), expected, "{text}");
        }
    }
}
