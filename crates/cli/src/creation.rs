//! Creating many downloads: in batches, and one refused address does not keep the others from being created.

use futures_util::StreamExt;
use longhaul_client::{Client, ClientError};
use longhaul_contract::{CreateDownload, OperationId};

use crate::connect::Context;
use crate::exit::Exit;
use crate::trouble::Trouble;

/// Operations of one call: fewer than there may be, so that the first ones are under way while the others are being
/// created, and watchers are told of each instead of being told to look at everything anew.
const BATCH: usize = 500;
/// Creations under way at one time, where a batch was refused.
const CALLS_AT_ONCE: usize = 16;

/// What came of it.
pub(crate) struct Created {
    /// In the order asked for.
    pub(crate) operations: Vec<(OperationId, CreateDownload)>,
    /// Of the first refusal.
    refused: Option<Exit>,
}

impl Created {
    pub(crate) fn exit(&self) -> Exit {
        self.refused.unwrap_or(Exit::Success)
    }
}

/// Creates what the service accepts and complains about each refusal.
///
/// # Errors
/// A failure that is no refusal; what was created before it exists and goes on.
pub(crate) async fn create(
    context: &Context,
    client: &Client,
    specs: Vec<CreateDownload>,
) -> Result<Created, Trouble> {
    let is_alone = specs.len() == 1;
    let mut created = Created { operations: Vec::with_capacity(specs.len()), refused: None };
    let mut rest = specs;
    while !rest.is_empty() {
        let behind = rest.split_off(rest.len().min(BATCH));
        if is_alone {
            create_each(context, client, rest, &mut created).await?;
        } else {
            match client.create_downloads(rest.clone()).await {
                Ok(ids) => created.operations.extend(ids.into_iter().zip(rest)),
                // All or none is right for a program, but a person wants the other files of the list.
                Err(ClientError::Refused(_)) => create_each(context, client, rest, &mut created).await?,
                Err(error) => return Err(error.into()),
            }
        }
        rest = behind;
    }
    Ok(created)
}

async fn create_each(
    context: &Context,
    client: &Client,
    specs: Vec<CreateDownload>,
    created: &mut Created,
) -> Result<(), Trouble> {
    let is_alone = specs.len() == 1;
    let mut answers = futures_util::stream::iter(specs)
        .map(|spec| async move {
            let answer = client.create_download(&spec).await;
            (spec, answer)
        })
        .buffered(CALLS_AT_ONCE);
    while let Some((spec, answer)) = answers.next().await {
        match answer {
            Ok(operation) => created.operations.push((operation.id, spec)),
            Err(error @ ClientError::Refused(_)) => {
                let mut trouble = Trouble::from(error);
                if !is_alone {
                    trouble.message = format!("{}: {}", spec.requested_uri, trouble.message);
                }
                context.console.complain(&trouble);
                created.refused.get_or_insert(trouble.exit);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
