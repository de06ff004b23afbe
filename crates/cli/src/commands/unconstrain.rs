//! `longhaul unconstrain`.

use crate::connect::Context;
use crate::exit::Exit;
use crate::identifiers;
use crate::trouble::Trouble;

/// Ask that energy saver shall not hold downloads back; the owner consents with `longhaul access grant`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The downloads, by their ids or the beginnings of them
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

pub(crate) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Trouble> {
    let client = context.client().await?;
    let mut operations = Vec::new();
    for id in &arguments.ids {
        operations.push(identifiers::resolve(&client, id).await?.id());
    }
    let is_unconstrained = client.request_unconstrained(&operations).await?;
    let answer = longhaul_contract::completion::Unconstrained { is_unconstrained };
    context.console.data(&answer, |_| {
        if is_unconstrained {
            "energy saver does not hold them back\n".to_owned()
        } else {
            "energy saver holds them back as before: the owner has not consented\n".to_owned()
        }
    })?;
    Ok(if is_unconstrained { Exit::Success } else { Exit::Access })
}
