//! A command that a person wants run later, and how it comes into the manifest and the service.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use longhaul_client::Client;
use longhaul_contract::manifest::{COMMAND_PREFIX, EntryPoint};
use longhaul_contract::{AccessStatus, AppId, BackgroundTask, OnConflict, RegisterTaskRequest};

use crate::connect::Context;
use crate::exit::Exit;
use crate::manifest::ManifestFolder;
use crate::tasks;
use crate::trouble::Trouble;

/// What the task is: a class of the manifest that is there, or a command to write into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Work {
    Class(String),
    Command(Box<EntryPoint>),
}

/// The entry point of a command: as it would be found and run here and now, with this folder and this `PATH`.
pub(crate) fn entry_point(command: &[String]) -> Result<EntryPoint, Trouble> {
    let folder = std::env::current_dir().map_err(|error| Trouble::file(Path::new("."), &error))?;
    let search = std::env::var_os("PATH");
    let (name, arguments) =
        command.split_first().ok_or_else(|| Trouble::usage("there is no command behind --"))?;
    let program = program(name, &folder, search.as_ref())?;
    let text = |path: &Path| {
        path.to_str()
            .map(str::to_owned)
            .ok_or_else(|| Trouble::new(Exit::LocalFile, format!("the path {} is not UTF-8", path.display())))
    };
    let mut exec = vec![text(&program)?];
    exec.extend_from_slice(arguments);
    let search = search.and_then(|search| search.into_string().ok());
    Ok(EntryPoint {
        exec: Some(exec),
        working_directory: Some(text(&folder)?),
        environment: search.into_iter().map(|search| ("PATH".to_owned(), search)).collect(),
        ..EntryPoint::default()
    })
}

/// The file that a shell in `folder` would run.
fn program(name: &str, folder: &Path, search: Option<&OsString>) -> Result<PathBuf, Trouble> {
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    let found = if name.contains('/') {
        Some(folder.join(name)).filter(is_program)
    } else {
        let folders = search.map(std::env::split_paths).into_iter().flatten();
        folders
            .filter(|path| !path.as_os_str().is_empty())
            .map(|path| folder.join(path).join(name))
            .find(is_program)
    };
    found.ok_or_else(|| {
        Trouble::new(Exit::LocalFile, format!("{name:?} is not a program that could be run here"))
            .advise("Commands are run without a shell; for shell syntax write -- sh -c 'COMMAND'.")
    })
}

/// Asks for access where the application has not, and registers. A command is written into the manifest first, and
/// taken out again when the registration is refused.
pub(crate) async fn register(
    context: &Context,
    client: &Client,
    mut request: RegisterTaskRequest,
    work: Work,
    on_conflict: OnConflict,
) -> Result<BackgroundTask, Trouble> {
    ask_for_access(context, client).await?;
    let entry_point = match work {
        Work::Class(class) => {
            request.entry_point = class;
            return Ok(client.register_task(&request, on_conflict).await?);
        }
        Work::Command(entry_point) => *entry_point,
    };
    let app = application(context);
    let folder = folder(context)?;
    let mut manifest = folder.read(&app)?;
    request.entry_point = manifest.add_command(request.name.as_str(), entry_point)?;
    folder.write(&app, &manifest)?;
    match client.register_task(&request, on_conflict).await {
        Ok(task) => {
            if on_conflict == OnConflict::Replace {
                remove_unused(client, &folder, &app).await?;
            }
            Ok(task)
        }
        Err(error) => {
            // After anything but a refusal it may be registered all the same.
            if error.code().is_some() && manifest.remove(&request.entry_point) {
                folder.write(&app, &manifest)?;
            }
            Err(error.into())
        }
    }
}

/// Takes those entry points out of the manifest that a command wrote and no task uses.
pub(crate) async fn forget_unused(context: &Context, client: &Client) -> Result<(), Trouble> {
    if !context.is_local() {
        return Ok(());
    }
    let app = application(context);
    let folder = folder(context)?;
    remove_unused(client, &folder, &app).await
}

async fn remove_unused(client: &Client, folder: &ManifestFolder, app: &AppId) -> Result<(), Trouble> {
    let mut manifest = folder.read(app)?;
    let written: Vec<_> =
        manifest.classes().into_iter().filter(|class| class.starts_with(COMMAND_PREFIX)).collect();
    if written.is_empty() {
        return Ok(());
    }
    // Who registers a command holds the lock of the folder as well: none is between its two steps now.
    let used: std::collections::BTreeSet<String> =
        tasks::details(client).await?.into_iter().map(|task| task.entry_point).collect();
    let mut is_changed = false;
    for class in written.iter().filter(|class| !used.contains(*class)) {
        is_changed |= manifest.remove(class);
    }
    if is_changed { folder.write(app, &manifest) } else { Ok(()) }
}

fn folder(context: &Context) -> Result<ManifestFolder, Trouble> {
    if !context.is_local() {
        return Err(Trouble::usage("a command can be given only to the service of this machine")
            .advise("Name a class of the application's manifest with --entry-point."));
    }
    ManifestFolder::lock(&context.paths()?.apps)
}

/// The application that this command speaks for.
pub(crate) fn application(context: &Context) -> AppId {
    context.globals.app.clone().unwrap_or_default()
}

async fn ask_for_access(context: &Context, client: &Client) -> Result<(), Trouble> {
    let status = match client.access_status().await? {
        AccessStatus::Unspecified => client.request_access(None).await?,
        status => status,
    };
    if !status.is_allowed() {
        let view = context.console.err_view();
        context.console.say(&format!(
            "{} {} may not run in the background ({status}): the task is registered and waits. See longhaul access --help.",
            view.paint.warning_mark(),
            application(context)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_as_a_shell_would() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, mode| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let tool = write("bin/tool", 0o755);
        write("bin/data", 0o644);
        let search = OsString::from(format!("/nowhere:{}", folder.path().join("bin").display()));
        let find = |name: &str| program(name, folder.path(), Some(&search));
        assert_eq!(find("tool").unwrap(), tool);
        assert_eq!(find("./bin/tool").unwrap(), folder.path().join("./bin/tool"));
        assert_eq!(find(tool.to_str().unwrap()).unwrap(), tool);
        for bad in ["data", "bin/data", "./tool", "bin", ""] {
            assert_eq!(find(bad).unwrap_err().exit, Exit::LocalFile, "{bad}");
        }
        assert!(program("tool", folder.path(), None).is_err());
    }

    #[test]
    fn a_command_remembers_where_it_was_given() {
        let entry_point = entry_point(&["sh".to_owned(), "-c".to_owned(), "exit 3".to_owned()]).unwrap();
        let exec = entry_point.exec.unwrap();
        assert!(exec[0].starts_with('/') && exec[0].ends_with("/sh"), "{exec:?}");
        assert_eq!(exec[1..], ["-c", "exit 3"]);
        assert_eq!(entry_point.working_directory.as_deref(), std::env::current_dir().unwrap().to_str());
        assert!(entry_point.environment.contains_key("PATH"));
    }
}
