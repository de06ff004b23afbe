//! The table of settings: name, form, place and meaning of each. The reader, the environment, `config show` and the
//! reference document are all made from it.

use super::Configuration;
use super::value::{Field, Form, Value};

pub(super) struct Key {
    /// `section.name`, as in the file.
    pub(super) name: &'static str,
    /// The environment variable, where it is not `LONGHAUL_SECTION_NAME`.
    short_variable: Option<&'static str>,
    pub(super) form: Form,
    pub(super) help: &'static str,
    pub(super) show: fn(&Configuration) -> Value,
    pub(super) set: fn(&mut Configuration, Value) -> Result<(), String>,
}

impl Key {
    pub(super) fn variable(&self) -> String {
        match self.short_variable {
            Some(variable) => variable.to_owned(),
            None => format!("LONGHAUL_{}", self.name.to_uppercase().replace(['.', '-'], "_")),
        }
    }
}

macro_rules! keys {
    ($($name:literal $(($variable:literal))?, $form:ident, $($place:ident).+, $help:literal;)+) => {
        pub(super) const KEYS: &[Key] = &[$(Key {
            name: $name,
            short_variable: [$(Some($variable),)? None][0],
            form: Form::$form,
            help: $help,
            show: |configuration| Field::show(&configuration.$($place).+),
            set: |configuration, value| Field::set(&mut configuration.$($place).+, value),
        }),+];
    };
}

keys! {
    "service.socket" ("LONGHAUL_SOCKET"), Text, service.socket, "The Unix socket to listen on.";
    "service.state" ("LONGHAUL_STATE"), Text, service.state, "The folder that holds the records.";
    "service.apps" ("LONGHAUL_APPS"), Text, service.apps, "The folder that holds the manifests of applications.";
    "service.package-databases", Texts, service.package_databases, "Folders of databases of packages (dpkg, rpm), for applications whose manifest names packages.";
    "service.listen", Texts, service.listen, "Loopback addresses to listen on as well; calls there need a token.";
    "service.hosts", Texts, service.hosts, "Further values of the Host header to accept over TCP, with their port.";
    "service.origins", Texts, service.origins, "Web origins (`https://host`) whose pages may call over TCP, with a token.";
    "service.log" ("LONGHAUL_LOG"), Text, service.log, "What to log: `error`, `warn`, `info`, `debug`, or a list such as `info,longhaul_transfer=debug`.";
    "service.connections-max", Count, service.connections_max, "Connections served at one time.";
    "service.event-streams-max", Count, service.event_streams_max, "Readers of `/events` and of unfinished content at one time.";
    "service.events-kept", Count, service.events_kept, "Numbered events kept for readers that come back.";
    "service.request-timeout", Duration, service.request_timeout, "How long a request may take to arrive.";
    "service.stop-timeout", Duration, service.stop_timeout, "How long a stop waits for downloads to make their bytes durable.";

    "transfer.user-agent", Text, transfer.user_agent, "The User-Agent of requests.";
    "transfer.ca-certificates", Texts, transfer.ca_certificates, "PEM files of further certificate authorities, beside the system's.";
    "transfer.proxy", Text, proxy.proxy, "The proxy of everything that names none: an address (http, https, socks5, socks5h), `none`, or `environment` for `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` as curl reads them.";
    "transfer.no-proxy", Texts, proxy.no_proxy, "Hosts that are reached without it: `*`, names with all below them, addresses, networks such as `10.0.0.0/8`, each with `:PORT` or without.";
    "transfer.proxy-user", Text, proxy.user, "User name at the proxy.";
    "transfer.proxy-password-file", Text, proxy.password_file, "File with the password at the proxy in its first line; only the owner may read it.";
    "transfer.connect-timeout", Duration, transfer.connect_timeout, "For the TCP and TLS set-up of one connection.";
    "transfer.response-timeout", Duration, transfer.response_timeout, "From a request to the first byte of its response.";
    "transfer.stall-timeout", Duration, transfer.stall_timeout, "A body slower than `stall-rate` on average over this time is broken off.";
    "transfer.stall-rate", Bytes, transfer.stall_bytes_per_second, "Bytes per second below which a body counts as stalled.";
    "transfer.redirects-max", Count, transfer.redirects_max, "Redirects followed for one request.";
    "transfer.segments-max", Count, transfer.segments_max, "Connections one download may use to one host.";
    "transfer.segments-lossy-max", Count, transfer.segments_lossy_max,
        "The same while packets are lost on the way, if `segments-max` allows more than one.";
    "transfer.segment-size-min", Bytes, transfer.segment_bytes_min, "Smaller files are never split.";
    "transfer.checkpoint-size", Bytes, transfer.checkpoint_bytes, "At least this often in bytes, what has arrived becomes durable.";
    "transfer.checkpoint-interval", Duration, transfer.checkpoint_interval, "At least this often in time, what has arrived becomes durable.";
    "transfer.overlap", Bytes, transfer.overlap_bytes, "The bytes before a resume point that are fetched again and compared.";
    "transfer.allow-unvalidated-resume", Switch, transfer.allow_unvalidated_resume, "Resume without ETag and Last-Modified when size and overlap are equal.";

    "engine.retries-max", Count, engine.retries_max, "Attempts in a row without new bytes after which an operation fails.";
    "engine.retry-delay-min", Duration, engine.retry_delay_min_ms, "Pause before the first retry.";
    "engine.retry-delay-max", Duration, engine.retry_delay_max_ms, "Longest pause between retries.";
    "engine.blocked-delay", Duration, engine.blocked_delay_ms, "How long an operation blocked by the disk waits before it looks again by itself.";
    "engine.operations-per-application", Count, engine.operations_per_application, "Operations one application may have that are not final.";
    "engine.groups-per-application", Count, engine.groups_per_application, "Group names one application may have.";
    "engine.keep-unconsumed", Seconds, engine.keep_unconsumed_seconds, "How long a result is kept that nobody has taken.";
    "engine.keep-consumed", Seconds, engine.keep_consumed_seconds, "How long a result is kept after it was taken.";
    "engine.time-zone", Zone, engine.time_zone, "The zone of scheduled rates that name none; read once, at the start.";
    "engine.settle", Duration, engine.settle_ms, "How long a better network must last before what waited for it starts.";

    "tasks.run-time", Duration, engine.tasks.run_ms, "How long an instance of a task runs until it is cancelled, where neither its registration nor its manifest says so.";
    "tasks.requested-run-time", Duration, engine.tasks.long_run_ms, "The same for ApplicationTrigger, DeviceUseTrigger and MediaProcessingTrigger.";
    "tasks.maintenance-run-time", Duration, engine.tasks.maintenance_run_ms, "The same for MaintenanceTrigger.";
    "tasks.run-time-max", Duration, engine.tasks.run_max_ms, "The longest run that a registration or a manifest may ask for.";
    "tasks.grace", Duration, engine.tasks.grace_ms, "How long a cancelled instance has to end by itself before it is killed.";
    "tasks.at-once", Count, engine.tasks.at_once, "Instances that run at one time.";
    "tasks.at-once-per-application", Count, engine.tasks.at_once_per_application, "The same for one application.";
    "tasks.crashes-max", Count, engine.tasks.crashes_max, "Runs in a row that broke down after which a task is started no more.";
    "tasks.registrations-per-application", Count, engine.tasks.registrations_per_application, "Tasks one application may have.";
    "tasks.access-on-request", Text, engine.tasks.access_on_request, "What an application gets that asks for access and has no decision of the owner: `AllowedSubjectToSystemPolicy`, `AlwaysAllowed`, `Unspecified` or `DeniedBySystemPolicy`.";
    "tasks.policy-files", Texts, policy_files, "Files of rules for background access (`[background-access]`), beside `/etc/longhaul/policy.toml`, which always counts; the strictest holds.";
    "tasks.registering-needs-access", Switch, engine.tasks.is_registration_strict, "Refuse to register tasks of an application without access, instead of letting their firings wait.";
    "tasks.flap-interval", Duration, engine.tasks.flap_ms, "An event of the machine that comes again and again starts a task at most this often.";
    "tasks.missed-after", Duration, engine.tasks.missed_after_ms, "A timer that comes later than this was missed, and its registration says what becomes of it.";

    "limits.rate", Rate, limits.bytes_per_second, "Bytes per second for all transfers together.";
    "limits.running-at-once", Count, limits.running_at_once, "Operations that move bytes at one time.";
    "limits.running-at-once-per-application", Count, limits.running_at_once_per_application, "The same for one application.";
    "limits.connections-per-host", Count, limits.connections_per_host, "Connections to one origin over all operations.";
}

/// The key a mistyped name most likely means.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (edit_distance(name, candidate), candidate))
        .min()
        .filter(|(distance, candidate)| *distance <= candidate.len().max(name.len()).div_ceil(2))
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substitution = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substitution.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_finds_its_key() {
        let names = || KEYS.iter().map(|key| key.name);
        assert_eq!(nearest("transfer.conect-timeout", names()), Some("transfer.connect-timeout"));
        assert_eq!(nearest("engine.retry-max", names()), Some("engine.retries-max"));
        assert_eq!(nearest("zzzzzzzzzzzzzzzzzzzzzzzzz", names()), None);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }

    #[test]
    fn names_and_variables_are_unique() {
        let mut variables: Vec<_> = KEYS.iter().map(Key::variable).collect();
        variables.extend(KEYS.iter().map(|key| key.name.to_owned()));
        let count = variables.len();
        variables.sort();
        variables.dedup();
        assert_eq!(variables.len(), count);
    }
}
