//! `longhaul get`.

mod arguments;
mod curl;
mod request;

use longhaul_client::Client;
use longhaul_contract::{CreateDownload, GroupName, Operation, OperationId};
use serde::Serialize;

pub(crate) use arguments::{Arguments, RateLimit, parse_cost_policy, parse_time, parse_web_error};
use request::{Request, is_document, sources};

use crate::commands::follow::kinds_without_snapshot;
use crate::connect::Context;
use crate::console::STRONG;
use crate::exit::Exit;
use crate::following::picture::{Picture, State};
use crate::following::{Ending, Following, Showing};
use crate::text::escape;
use crate::trouble::Trouble;
use crate::{creation, describe};

#[derive(Serialize)]
struct Items<'a> {
    items: Vec<&'a Operation>,
}

pub(crate) async fn run(mut arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let from_curl = curl::read(&mut arguments)?;
    let request = Request::of(&arguments, &from_curl)?;
    let sources = sources(&arguments, from_curl)?;
    let is_any_document = sources.iter().any(|source| is_document(&arguments, source));
    let mut specs = if is_any_document { Vec::new() } else { request.specs(sources.clone())? };
    let client = context.client().await?;
    if is_any_document {
        specs = request.specs(request.expand(context, &client, sources).await?)?;
    }
    if arguments.detach || arguments.hold {
        let created = creation::create(context, &client, specs).await?;
        let ids: Vec<_> = created.operations.iter().map(|(id, _)| *id).collect();
        context
            .console
            .data(&serde_json::json!({ "ids": ids }), |_| ids.iter().map(|id| format!("{id}\n")).collect())?;
        return Ok(created.exit());
    }
    let mut rounds = vec![follow(&arguments, context, &client, specs).await?];
    let listed = request.listed_by(context, &client, &rounds[0]).await?;
    if !listed.is_empty() {
        rounds.push(follow(&arguments, context, &client, request.specs(listed)?).await?);
    }
    if context.console.is_json {
        let items = rounds.iter().flat_map(|round| round.picture.items());
        context.console.json(&Items { items: items.filter_map(|(_, item)| item.operation()).collect() })?;
    }
    Ok(rounds.iter().map(Round::exit).find(|exit| *exit != Exit::Success).unwrap_or(Exit::Success))
}

/// Downloads that were created and followed together.
struct Round {
    picture: Picture,
    /// Of what the service refused, or of Ctrl-C.
    early: Exit,
}

impl Round {
    fn exit(&self) -> Exit {
        match self.early {
            Exit::Success => self.picture.exit(),
            early => early,
        }
    }
}

async fn follow(
    arguments: &Arguments,
    context: &Context,
    client: &Client,
    specs: Vec<CreateDownload>,
) -> Result<Round, Trouble> {
    let showing = if arguments.quiet { Showing::Nothing } else { Showing::Progress };
    let watch = client.watch(&kinds_without_snapshot());
    let picture = Picture::of_expected();
    let mut following = Following::new(context, client.clone(), watch, picture, showing).taking_results();
    // The stream stands before anything is created, and so tells all of it.
    following.connected().await?;
    let created = creation::create(context, client, specs).await?;
    for (id, spec) in &created.operations {
        following.picture.expect(*id, describe::short_name_of(&spec.requested_uri, &spec.result_file));
    }
    let mut early = created.exit();
    if !created.operations.is_empty() {
        if following.run().await? == Ending::Interrupted {
            let found_by = (arguments.label.as_deref(), arguments.group.as_ref());
            say_detached("download", found_by, &following.picture, context);
            early = Exit::Interrupted;
        } else {
            say_advice(&following.picture, context);
        }
    }
    Ok(Round { picture: following.picture, early })
}

/// Up to this many ids are named.
const IDS_NAMED: usize = 3;

/// Says that operations called `noun` go on, and how to see them again.
pub(crate) fn say_detached(
    noun: &str,
    (label, group): (Option<&str>, Option<&GroupName>),
    picture: &Picture,
    context: &Context,
) {
    let ids: Vec<OperationId> = picture.unfinished();
    let what = match ids.len() {
        1 => format!("The {noun} goes on"),
        count => format!("{count} {noun}s go on"),
    };
    let again = match (label, group) {
        _ if ids.len() <= IDS_NAMED => ids.iter().map(|id| format!(" {id}")).collect(),
        (Some(label), _) => format!(" --label {}", escape(label)),
        (None, Some(group)) => format!(" --group {}", escape(group.as_str())),
        (None, None) => String::new(),
    };
    let command = context.console.err_view().paint.paint(STRONG, &format!("longhaul follow{again}"));
    context.console.say(&format!("\n{what} in the background. See it again with {command}"));
}

/// Says what can be done, once for each different thing.
pub(crate) fn say_advice(picture: &Picture, context: &Context) {
    let mut said: Vec<String> = Vec::new();
    for (_, item) in picture.items() {
        let (State::Live(operation) | State::Ended(operation)) = &item.state else { continue };
        let Some(advice) = describe::advice(operation).filter(|advice| !said.contains(advice)) else {
            continue;
        };
        if said.len() == IDS_NAMED {
            context.console.say("  and more of the kind: see longhaul ls --all --status Error");
            return;
        }
        let heading = context.console.err_view().paint.paint(STRONG, "  try:");
        context.console.say(&format!("{heading} {advice}"));
        said.push(advice);
    }
}
