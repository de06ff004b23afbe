//! What administrators of the machine say of background access: files that are read at the start and whenever they
//! change. The owner of the service cannot overrule them, and a file that cannot be read forbids everything, since nobody
//! knows what it would have allowed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use longhaul_contract::AppId;
use longhaul_engine::task::TaskFact;
use longhaul_engine::{AccessRule, AccessRules, Fact};
use serde::Deserialize;

use crate::heart::Heart;
use crate::signs::{SETTLE, Signs};

/// Counts on every machine, whatever the configuration says.
const SYSTEM_FILE: &str = "/etc/longhaul/policy.toml";
/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The files, of which each one counts that is there.
#[derive(Debug, Clone)]
pub(crate) struct AccessFiles {
    paths: Vec<PathBuf>,
    /// User id of the service.
    uid: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
struct Content {
    background_access: Section,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
struct Section {
    default: Word,
    allow: BTreeSet<AppId>,
    deny: BTreeSet<AppId>,
    owner: BTreeSet<AppId>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    #[default]
    Owner,
    Allow,
    Deny,
}

/// Why a file does not say what is allowed.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("belongs to user {0}: only root and the owner of the service may write it")]
    ForeignOwner(u32),
    #[error("may be written by others: take the right away with `chmod go-w`")]
    OthersMayWrite,
    #[error("has more than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("is no policy: {0}")]
    Malformed(String),
}

impl AccessFiles {
    /// The machine's own file, and these.
    pub(crate) fn new(others: &[String], uid: u32) -> Self {
        let paths = [SYSTEM_FILE].into_iter().chain(others.iter().map(String::as_str));
        Self { paths: paths.map(PathBuf::from).collect(), uid }
    }

    /// May block.
    pub(crate) fn read(&self) -> Vec<AccessRules> {
        self.paths.iter().filter_map(|path| self.rules(path)).collect()
    }

    /// `None` when there is no such file.
    fn rules(&self, path: &Path) -> Option<AccessRules> {
        match self.content(path) {
            Ok(content) => {
                let Section { default, allow, deny, owner } = content?.background_access;
                let default = match default {
                    Word::Owner => AccessRule::Owner,
                    Word::Allow => AccessRule::Allow,
                    Word::Deny => AccessRule::Deny,
                };
                Some(AccessRules { source: path.display().to_string(), default, allow, deny, owner })
            }
            Err(problem) => {
                tracing::error!(path = %path.display(), %problem, "no application may run in the background");
                Some(AccessRules {
                    source: format!("{}, which {problem}", path.display()),
                    default: AccessRule::Deny,
                    allow: BTreeSet::new(),
                    deny: BTreeSet::new(),
                    owner: BTreeSet::new(),
                })
            }
        }
    }

    fn content(&self, path: &Path) -> Result<Option<Content>, Problem> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        if metadata.uid() != 0 && metadata.uid() != self.uid {
            return Err(Problem::ForeignOwner(metadata.uid()));
        }
        if metadata.mode() & 0o022 != 0 {
            return Err(Problem::OthersMayWrite);
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(Problem::TooLarge);
        }
        toml::from_str(&text).map(Some).map_err(|error| Problem::Malformed(error.to_string()))
    }

    /// Tells the engine of every change until the service stops. `known` is what it was made with.
    pub(crate) async fn watch(self, heart: Heart, mut known: Vec<AccessRules>) {
        let signs = match Signs::open() {
            Ok(signs) => signs,
            Err(error) => {
                tracing::error!(%error, "the rules of background access are not watched");
                return;
            }
        };
        loop {
            // Before it is read: what is written meanwhile is seen.
            self.paths.iter().filter_map(|path| path.parent()).for_each(|folder| signs.look_at(folder));
            let files = self.clone();
            let Ok(rules) = tokio::task::spawn_blocking(move || files.read()).await else { return };
            if rules != known {
                tracing::info!(files = rules.len(), "the rules of background access changed");
                known.clone_from(&rules);
                heart.report(None, Fact::Task(TaskFact::AccessRules(rules)));
            }
            signs.wait().await;
            tokio::time::sleep(SETTLE).await;
            signs.drain();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn rule_of(files: &AccessFiles, app: &str) -> AccessRule {
        let app = AppId::new(app).unwrap();
        files.read().iter().map(|rules| rules.of(&app)).max().unwrap_or_default()
    }

    #[test]
    fn lists_win_over_the_default_and_the_strictest_file_over_all() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a.toml", "b.toml"].map(|name| folder.path().join(name));
        let names = paths.each_ref().map(|path| path.display().to_string());
        let files = AccessFiles::new(&names, rustix::process::geteuid().as_raw());
        assert_eq!(rule_of(&files, "org.a"), AccessRule::Owner, "no file says nothing");
        let write = |place: usize, text: &str| {
            std::fs::write(&paths[place], text).unwrap();
            std::fs::set_permissions(&paths[place], PermissionsExt::from_mode(0o644)).unwrap();
        };
        write(0, "[background-access]\ndefault = \"deny\"\nallow = [\"org.a\"]\nowner = [\"org.b\"]\n");
        for (app, rule) in
            [("org.a", AccessRule::Allow), ("org.b", AccessRule::Owner), ("org.c", AccessRule::Deny)]
        {
            assert_eq!(rule_of(&files, app), rule, "{app}");
        }
        write(1, "[background-access]\ndeny = [\"org.a\"]\n");
        assert_eq!(rule_of(&files, "org.a"), AccessRule::Deny);
        assert_eq!(rule_of(&files, "org.b"), AccessRule::Owner);
        write(0, "");
        assert_eq!(rule_of(&files, "org.c"), AccessRule::Owner);
    }

    #[test]
    fn what_cannot_be_read_forbids_everything_and_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("policy.toml");
        let files = AccessFiles::new(&[path.display().to_string()], rustix::process::geteuid().as_raw());
        for (text, mode, problem) in [
            ("nonsense", 0o644, "is no policy"),
            ("[background-access]\ndenied = []\n", 0o644, "unknown field `denied`"),
            ("[background-access]\ndeny = [\"photos\"]\n", 0o644, "reverse-DNS"),
            ("", 0o666, "may be written by others"),
        ] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(rule_of(&files, "org.a"), AccessRule::Deny, "{text}");
            let rules = files.read();
            assert!(rules[0].source.contains(problem), "{}", rules[0].source);
        }
        let stranger = AccessFiles { uid: 1, ..files };
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        assert_eq!(rule_of(&stranger, "org.a"), AccessRule::Owner, "root may write it for everybody");
    }
}
