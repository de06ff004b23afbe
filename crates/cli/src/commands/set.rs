//! `longhaul set`.

use std::path::PathBuf;

use longhaul_contract::PatchDownload;

use crate::commands::get::{parse_cost_policy, parse_web_error};
use crate::connect::Context;
use crate::exit::Exit;
use crate::input::certificate::CertificateArguments;
use crate::input::password::Of;
use crate::input::source::Source;
use crate::input::{headers, password, proxy};
use crate::measure::parse_rate;
use crate::trouble::Trouble;
use crate::{describe, identifiers};

/// Change a download that is not finished
///
/// An expired link: `longhaul set ID requestedUri=URL --resume` goes on with the bytes at hand, if the new address
/// has the same file.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The download, by its id or the beginning of it
    #[arg(value_name = "ID")]
    id: String,
    /// requestedUri=URL, priority=high|default|low, costPolicy=default|unrestricted-only|always, rateLimit=RATE|none,
    /// recoverableWebErrorStatuses=STATUS,…, proxy=PROXY|none, header=HEADER (all of them together replace the old ones; header= alone
    /// removes them)
    #[arg(value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// User name at the server; the password is asked for
    #[arg(short, long, value_name = "NAME")]
    user: Option<String>,
    /// Read the password from this file (- is standard input)
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// User name at the proxy; the password is asked for
    #[arg(long, value_name = "NAME")]
    proxy_user: Option<String>,
    /// Read the password at the proxy from this file (- is standard input)
    #[arg(long, value_name = "FILE", requires = "proxy_user")]
    proxy_password_file: Option<PathBuf>,
    #[command(flatten)]
    certificate: CertificateArguments,
    /// Let it go on afterwards
    #[arg(long)]
    resume: bool,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let mut patch = patch(&arguments.settings)?;
    if let Some(user) = &arguments.user {
        let file = arguments.password_file.as_deref();
        patch.server_credential = Some(password::credential(user, file, Of::Server)?);
    }
    if let Some(user) = &arguments.proxy_user {
        let file = arguments.proxy_password_file.as_deref();
        patch.proxy_credential = Some(password::credential(user, file, Of::Proxy)?);
    }
    patch.client_certificate = arguments.certificate.read()?;
    if patch == PatchDownload::default() {
        return Err(
            Trouble::usage("there is nothing to set").advise("Give KEY=VALUE, see longhaul set --help.")
        );
    }
    let client = context.client().await?;
    let download = identifiers::resolve(&client, &arguments.id).await?;
    let mut operation = download.patch(&patch).await?;
    if arguments.resume {
        operation = download.resume().await?;
    }
    context.console.data(&operation, |_| String::new())?;
    if !context.console.is_json {
        let view = context.console.err_view();
        let (status, style) = describe::status(&operation);
        let name = describe::name(&operation, None);
        context.console.say(&format!("{name} is {}", view.paint.paint(style, status)));
        if patch.requested_uri.is_some() && !arguments.resume {
            context.console.say(&format!("Let it go on with longhaul resume {}", operation.id));
        }
    }
    Ok(Exit::Success)
}

fn patch(settings: &[String]) -> Result<PatchDownload, Trouble> {
    let mut patch = PatchDownload::default();
    let mut given_headers: Option<Vec<String>> = None;
    for setting in settings {
        let (key, value) =
            setting.split_once('=').ok_or_else(|| Trouble::usage(format!("{setting:?} is not KEY=VALUE")))?;
        match key {
            "requestedUri" => {
                let source = Source::parse(value)?;
                if source.credential.is_some() {
                    return Err(Trouble::usage("the address holds a user name")
                        .advise("Leave it out and use --user."));
                }
                patch.requested_uri = Some(source.url.into());
            }
            "proxy" => {
                proxy::check(value)?;
                patch.proxy = Some(value.to_owned());
            }
            "interface" => patch.interface = Some(value.to_owned()),
            "priority" => patch.priority = Some(value.parse().map_err(Trouble::usage)?),
            "costPolicy" => patch.cost_policy = Some(parse_cost_policy(value).map_err(Trouble::usage)?),
            "rateLimit" => patch.rate_limit = Some(parse_rate(value).map_err(Trouble::usage)?),
            "recoverableWebErrorStatuses" => {
                let statuses: Result<_, _> =
                    value.split(',').filter(|word| !word.is_empty()).map(parse_web_error).collect();
                patch.recoverable_web_error_statuses = Some(statuses.map_err(Trouble::usage)?);
            }
            "header" => {
                let headers = given_headers.get_or_insert_default();
                headers.extend(Some(value.to_owned()).filter(|value| !value.is_empty()));
            }
            _ => {
                return Err(Trouble::usage(format!("{key:?} cannot be set")).advise(
                    "Keys are requestedUri, priority, costPolicy, rateLimit, recoverableWebErrorStatuses, proxy, interface and header.",
                ));
            }
        }
    }
    patch.request_headers = given_headers.as_deref().map(headers::parse).transpose()?;
    Ok(patch)
}

#[cfg(test)]
mod tests {
    use longhaul_contract::{CostPolicy, Priority, WebErrorStatus};

    use super::*;

    fn patch_of(settings: &[&str]) -> Result<PatchDownload, Trouble> {
        patch(&settings.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn every_key_is_read() {
        let patch = patch_of(&[
            "requestedUri=https://example.org/a?b=c",
            "priority=high",
            "costPolicy=unrestricted-only",
            "rateLimit=500k",
            "recoverableWebErrorStatuses=403,Timeout",
            "header=A: b",
            "header=C: d=e",
        ])
        .unwrap();
        assert_eq!(patch.requested_uri.as_deref(), Some("https://example.org/a?b=c"));
        assert_eq!(patch.priority, Some(Priority::High));
        assert_eq!(patch.cost_policy, Some(CostPolicy::UnrestrictedOnly));
        assert_eq!(patch.rate_limit, Some(Some(512_000)));
        assert_eq!(
            patch.recoverable_web_error_statuses,
            Some(vec![WebErrorStatus::Forbidden, WebErrorStatus::Timeout])
        );
        assert_eq!(patch.request_headers.unwrap().len(), 2);
    }

    #[test]
    fn none_lifts_a_limit_and_an_empty_header_removes_all() {
        let patch = patch_of(&["rateLimit=none", "header="]).unwrap();
        assert_eq!((patch.rate_limit, patch.request_headers), (Some(None), Some(Vec::new())));
    }

    #[test]
    fn mistakes_are_refused() {
        for bad in [
            "priority",
            "colour=red",
            "priority=urgent",
            "requestedUri=sftp://a/",
            "requestedUri=http://u@a/",
            "rateLimit=x",
        ] {
            assert_eq!(patch_of(&[bad]).unwrap_err().exit, Exit::Usage, "{bad}");
        }
    }
}
