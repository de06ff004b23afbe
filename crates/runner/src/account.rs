//! Who a program runs as.

use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

/// A user of the machine (passwd(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    pub home: PathBuf,
    pub shell: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("there is no user {0}")]
    Unknown(String),
    #[error("the user database cannot be read: {0}")]
    Database(#[source] io::Error),
}

/// Entries of the user database are bounded by nothing; this is more than any has.
const ENTRY_BYTES_MAX: usize = 1 << 20;

impl Account {
    /// `~` and what lies below it, in the account's home folder.
    #[must_use]
    pub fn at_home(&self, path: &Path) -> PathBuf {
        path.strip_prefix("~").map_or_else(|_| path.to_owned(), |rest| self.home.join(rest))
    }

    /// The user that this process runs as. Without an entry in the database it is a nameless one whose home is `/`.
    /// May block: the database can be on the network.
    ///
    /// # Errors
    /// The user database cannot be read.
    pub fn current() -> Result<Self, AccountError> {
        let uid = rustix::process::geteuid().as_raw();
        match Self::by_uid(uid) {
            Err(AccountError::Unknown(_)) => Ok(Self {
                name: uid.to_string(),
                uid,
                gid: rustix::process::getegid().as_raw(),
                groups: Vec::new(),
                home: "/".into(),
                shell: "/bin/sh".into(),
            }),
            found => found,
        }
    }

    /// May block, as [`Account::current`].
    ///
    /// # Errors
    /// Nobody has that number, or the database cannot be read.
    pub fn by_uid(uid: u32) -> Result<Self, AccountError> {
        lookup(&uid.to_string(), |entry, buffer, found| {
            // SAFETY: all pointers are valid for the call, and the length is the buffer's.
            unsafe { libc::getpwuid_r(uid, entry, buffer.as_mut_ptr().cast(), buffer.len(), found) }
        })
    }

    /// May block, as [`Account::current`].
    ///
    /// # Errors
    /// Nobody has that name, or the database cannot be read.
    pub fn by_name(name: &str) -> Result<Self, AccountError> {
        let c_name = CString::new(name).map_err(|_| AccountError::Unknown(name.to_owned()))?;
        lookup(name, |entry, buffer, found| {
            // SAFETY: as above; the name ends with its NUL.
            unsafe {
                libc::getpwnam_r(c_name.as_ptr(), entry, buffer.as_mut_ptr().cast(), buffer.len(), found)
            }
        })
    }
}

fn lookup(
    wanted: &str,
    ask: impl Fn(*mut libc::passwd, &mut [u8], *mut *mut libc::passwd) -> libc::c_int,
) -> Result<Account, AccountError> {
    let mut buffer = vec![0_u8; 4 << 10];
    loop {
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut found = std::ptr::null_mut();
        match ask(entry.as_mut_ptr(), &mut buffer, &mut found) {
            // SAFETY: a result that is not null says that the entry was filled in.
            0 if !found.is_null() => return account(unsafe { entry.assume_init_ref() }),
            0 | libc::ENOENT | libc::ESRCH => return Err(AccountError::Unknown(wanted.to_owned())),
            libc::EINTR => {}
            libc::ERANGE if buffer.len() < ENTRY_BYTES_MAX => buffer.resize(buffer.len() * 4, 0),
            error => return Err(AccountError::Database(io::Error::from_raw_os_error(error))),
        }
    }
}

fn account(entry: &libc::passwd) -> Result<Account, AccountError> {
    // SAFETY: the strings of an entry end with NUL and live as long as its buffer.
    let text =
        |pointer: *const libc::c_char| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned();
    let shell = text(entry.pw_shell);
    Ok(Account {
        name: text(entry.pw_name),
        uid: entry.pw_uid,
        gid: entry.pw_gid,
        groups: groups(entry)?,
        home: text(entry.pw_dir).into(),
        shell: if shell.is_empty() { "/bin/sh".into() } else { shell.into() },
    })
}

fn groups(entry: &libc::passwd) -> Result<Vec<u32>, AccountError> {
    let mut groups = vec![0; 64];
    loop {
        let mut count = libc::c_int::try_from(groups.len()).unwrap_or(libc::c_int::MAX);
        // SAFETY: the list has room for as many groups as the count says.
        let answer =
            unsafe { libc::getgrouplist(entry.pw_name, entry.pw_gid, groups.as_mut_ptr(), &mut count) };
        let known = usize::try_from(count).unwrap_or_default();
        if answer >= 0 {
            groups.truncate(known);
            return Ok(groups);
        }
        // NGROUPS_MAX of Linux.
        if groups.len() >= 65_536 {
            return Err(AccountError::Database(io::Error::from_raw_os_error(libc::ERANGE)));
        }
        groups.resize(known.max(groups.len() * 4), 0);
    }
}
