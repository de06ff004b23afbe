//! Online accounts of the user, from GNOME Online Accounts (org.gnome.OnlineAccounts) on the bus of the user's session: added,
//! removed, or signed out so that their owner has to see to them.
//!
//! What came about while the daemon was away is found by comparison when it is back. Deliberately absent: whose accounts
//! those are, and their secrets.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::time::Duration;

use longhaul_contract::SystemTriggerType;
use serde_json::{Value, json};
use zbus::{OwnedObjectPath, OwnedVariant};

use crate::bus::{BusSource, Owner, Properties, Rule};
use crate::facts::{Fact, Reports};
use crate::watch::HostChange;

const PATH: &str = "/org/gnome/OnlineAccounts";
const OBJECTS: &str = "org.freedesktop.DBus.ObjectManager";
const ACCOUNT: &str = "org.gnome.OnlineAccounts.Account";

/// How long a daemon that came back is given to read its accounts.
const SETTLING: Duration = Duration::from_secs(2);

type Objects = HashMap<OwnedObjectPath, HashMap<String, HashMap<String, OwnedVariant>>>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    provider: String,
    name: String,
    /// The user has to sign in again.
    needs_attention: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Accounts {
    /// By id, once they have been looked at.
    known: Option<BTreeMap<String, Account>>,
}

impl Accounts {
    async fn run(&mut self, owner: &Owner, reports: &Reports) -> zbus::Result<Infallible> {
        let mut signals = owner
            .listen(&[
                Rule::signal(PATH, OBJECTS, "InterfacesAdded"),
                Rule::signal(PATH, OBJECTS, "InterfacesRemoved"),
                Rule::properties(PATH, ACCOUNT).with_tree(),
            ])
            .await?;
        if self.known.is_some() {
            // A daemon that has come back may still be reading its accounts.
            tokio::time::sleep(SETTLING).await;
        }
        loop {
            signals.take_all();
            let reply = owner.call(PATH, OBJECTS, "GetManagedObjects", &()).await?;
            let found = read(reply.body().deserialize()?);
            reports.fact(Fact::Accounts(Ok(())));
            if let Some(changes) = self.known.as_ref().map(|known| compare(known, &found))
                && !changes.is_empty()
            {
                let event = SystemTriggerType::OnlineIdConnectedStateChange;
                reports.change(HostChange::Event(event, json!({ "accounts": changes })));
            }
            self.known = Some(found);
            signals.next().await?;
        }
    }
}

fn read(objects: Objects) -> BTreeMap<String, Account> {
    let accounts = objects.into_values().filter_map(|mut interfaces| interfaces.remove(ACCOUNT));
    accounts
        .filter_map(|account| {
            let account = Properties::from(account);
            let text = |name: &str| account.get::<String>(name).unwrap_or_default();
            let found = Account {
                provider: text("ProviderType"),
                name: text("PresentationIdentity"),
                needs_attention: account.get("AttentionNeeded").unwrap_or(false),
            };
            Some((account.get::<String>("Id")?, found))
        })
        .collect()
}

/// What is different, one entry for each account.
fn compare(before: &BTreeMap<String, Account>, after: &BTreeMap<String, Account>) -> Vec<Value> {
    let change = |id: &String, account: &Account, change: &str| json!({ "id": id, "provider": account.provider, "name": account.name, "change": change });
    let gone = before.iter().filter(|(id, _)| !after.contains_key(*id));
    let mut changes: Vec<Value> = gone.map(|(id, account)| change(id, account, "removed")).collect();
    for (id, account) in after {
        match before.get(id) {
            None => changes.push(change(id, account, "added")),
            Some(known) if known.needs_attention != account.needs_attention => {
                let word = if account.needs_attention { "disconnected" } else { "connected" };
                changes.push(change(id, account, word));
            }
            Some(_) => {}
        }
    }
    changes
}

impl BusSource for Accounts {
    const NAME: &'static str = "org.gnome.OnlineAccounts";
    const DAEMON: &'static str = "GNOME Online Accounts";

    fn absent(&self, reason: String) -> Fact {
        Fact::Accounts(Err(reason))
    }

    async fn attend(&mut self, owner: &Owner, reports: &Reports) -> zbus::Error {
        let Err(error) = self.run(owner, reports).await;
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(needs_attention: bool) -> Account {
        Account { provider: "google".to_owned(), name: "me@example.org".to_owned(), needs_attention }
    }

    #[test]
    fn changes_are_told_account_by_account() {
        let all = |entries: &[(&str, bool)]| {
            entries.iter().map(|(id, attention)| ((*id).to_owned(), account(*attention))).collect()
        };
        let before: BTreeMap<_, _> = all(&[("a", false), ("b", false), ("c", true), ("d", false)]);
        let after = all(&[("b", true), ("c", false), ("d", false), ("e", false)]);
        let told: Vec<_> = compare(&before, &after)
            .iter()
            .map(|change| {
                format!("{} {}", change["id"].as_str().unwrap(), change["change"].as_str().unwrap())
            })
            .collect();
        assert_eq!(told, ["a removed", "b disconnected", "c connected", "e added"]);
        assert!(compare(&before, &before).is_empty());
    }
}
