//! The reference document of the settings, made from the table that reads them.

use std::fmt::Write;

use longhaul_contract::paths::ServicePaths;

use super::keys::KEYS;
use super::{Configuration, SECTIONS};

/// `docs/reference/configuration.md`.
#[must_use]
pub fn configuration_markdown() -> String {
    let paths = ServicePaths {
        socket: "$XDG_RUNTIME_DIR/longhaul/longhaul.sock".into(),
        state: "~/.local/state/longhaul".into(),
        config: "~/.config/longhaul/longhaul.toml".into(),
        apps: "~/.config/longhaul/apps".into(),
    };
    let defaults = Configuration::defaults(&paths);
    let mut text = String::from(INTRODUCTION);
    for section in SECTIONS {
        let _ = write!(
            text,
            "\n## `[{section}]`\n\n| Key | Default | Form | Meaning | Variable |\n|---|---|---|---|---|\n"
        );
        for key in KEYS.iter().filter(|key| key.name.starts_with(&format!("{section}."))) {
            let _ = writeln!(
                text,
                "| `{}` | `{}` | {} | {} | `{}` |",
                &key.name[section.len() + 1..],
                (key.show)(&defaults).show(key.form),
                key.form.description(),
                key.help,
                key.variable(),
            );
        }
    }
    text + CONCLUSION
}

const INTRODUCTION: &str = "\
# Configuration

One TOML file: `$XDG_CONFIG_HOME/longhaul/longhaul.toml` (by default below `~/.config`), for the system's service
`/etc/longhaul/longhaul.toml`; `--config FILE` or `LONGHAUL_CONFIG` name another one. Values come from the defaults, then
the file, then the environment, then the command line; the last one wins. A key that does not exist is an error that names
the nearest one. `longhaul config show` prints every value with the place it comes from.

What `PUT /limits` (`longhaul limits`) sets is kept in the store and wins over `[limits]` from then on.
";

const CONCLUSION: &str = "
## `[[limits.schedule]]`

Rates for hours of the week. Where entries overlap the lowest rate holds; a rate of 0 stops all transfers.

```toml
[[limits.schedule]]
weekdays = [\"Mon\", \"Tue\", \"Wed\", \"Thu\", \"Fri\"]   # empty or absent: every day
from = \"08:00\"
to = \"17:00\"                                        # earlier than from: over midnight
time-zone = \"Europe/Berlin\"                         # absent: the machine's
rate = \"2MiB\"
```

## `[data-plan.\"CONNECTION\"]`

What a connection's contract allows in a month. CONNECTION is a network interface, or a connection of NetworkManager by its name (as
`nmcli connection` shows it). Such a connection is metered; [the host](../concepts/host.md) says what happens near and beyond the limit.

```toml
[data-plan.\"My phone\"]
limit = \"10GB\"                                      # sent and received together
resets-on-day = 15                                  # of the month; absent: 1
used = \"2GB\"                                        # before Longhaul counted; write another number to correct the count
```

## `[apps.\"APPLICATION\"]`

What an application may do that is confined: sandboxed, or calling over TCP with a token. Without an entry it may name files
below `apps/APPLICATION/` of the state folder, and connect to public addresses only. `proxy` and what belongs to it take the place of
those in `[transfer]`, for any application.

```toml
[apps.\"org.example.Photos\"]
folders = [\"/home/me/Photos\"]
private-addresses = true
proxy = \"socks5h://127.0.0.1:9050\"
no-proxy = [\"photos.example\"]
proxy-user = \"photos\"
proxy-password-file = \"/home/me/.config/longhaul/photos-proxy\"
```
";
