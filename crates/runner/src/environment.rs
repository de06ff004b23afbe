//! The variables that a task starts with: a documented set, never the service's whole environment.

use crate::account::Account;

/// Set for every task, whatever the service or a manifest says.
pub const TASK_ID: &str = "LONGHAUL_TASK_ID";
pub const INSTANCE_ID: &str = "LONGHAUL_INSTANCE_ID";
pub const SOCKET: &str = "LONGHAUL_SOCKET";
/// Names a file that holds the word of the reason once the instance is canceled, and does not exist before.
pub const CANCEL_REASON_FILE: &str = "LONGHAUL_CANCEL_REASON_FILE";

/// Where programs are looked for when the service's own `PATH` does not apply.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
const PATH_OF_ROOT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The set for `account` out of what the service itself has, in the order of names.
///
/// `LANG`, `LC_*` and `TZ` come from the service. `HOME`, `USER`, `LOGNAME` and `SHELL` are the account's.
/// `PATH`, `TMPDIR` and `XDG_*` speak of the service's user and come along only for that user (`is_own`); for any other
/// `PATH` is the usual one.
#[must_use]
pub fn base(
    account: &Account,
    is_own: bool,
    service: impl IntoIterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> =
        service.into_iter().filter(|(name, _)| is_taken_over(name, is_own)).collect();
    for (name, value) in [
        ("HOME", account.home.to_string_lossy().into_owned()),
        ("USER", account.name.clone()),
        ("LOGNAME", account.name.clone()),
        ("SHELL", account.shell.to_string_lossy().into_owned()),
    ] {
        set(&mut variables, name, value);
    }
    if !variables.iter().any(|(name, _)| name == "PATH") {
        let path = if account.uid == 0 { PATH_OF_ROOT } else { PATH };
        set(&mut variables, "PATH", path.to_owned());
    }
    variables.sort();
    variables
}

/// Gives a variable its value, in place of any it had.
pub fn set(variables: &mut Vec<(String, String)>, name: &str, value: String) {
    match variables.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value,
        None => variables.push((name.to_owned(), value)),
    }
}

fn is_taken_over(name: &str, is_own: bool) -> bool {
    match name {
        "LANG" | "TZ" => true,
        "PATH" | "TMPDIR" => is_own,
        _ => name.starts_with("LC_") || is_own && name.starts_with("XDG_"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(uid: u32) -> Account {
        Account {
            name: "ada".into(),
            uid,
            gid: uid,
            groups: Vec::new(),
            home: "/home/ada".into(),
            shell: "/bin/bash".into(),
        }
    }

    fn given() -> Vec<(String, String)> {
        [
            ("PATH", "/opt/bin:/usr/bin"),
            ("HOME", "/elsewhere"),
            ("AWS_SECRET_ACCESS_KEY", "hush"),
            ("LC_TIME", "de_DE.UTF-8"),
            ("TZ", "Asia/Tokyo"),
            ("XDG_RUNTIME_DIR", "/run/user/1000"),
            ("NOTIFY_SOCKET", "/run/notify"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    #[test]
    fn keeps_what_is_documented_and_nothing_else() {
        let names: Vec<String> =
            base(&account(1000), true, given()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["HOME", "LC_TIME", "LOGNAME", "PATH", "SHELL", "TZ", "USER", "XDG_RUNTIME_DIR"]);
    }

    #[test]
    fn another_account_gets_its_own_home_and_not_the_service_s_folders() {
        let variables = base(&account(1001), false, given());
        let value =
            |wanted: &str| variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| &**value);
        assert_eq!(value("HOME"), Some("/home/ada"));
        assert_eq!(value("XDG_RUNTIME_DIR"), None);
        assert_eq!(value("PATH"), Some(PATH));
    }
}
