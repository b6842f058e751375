//! What the embedded server takes from the machine: a user, a folder, a port, random bytes. Uses: error.

use std::env;
use std::fs::{self, File};
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// A folder path may have so many bytes: a socket path has at most 103 on some systems, and `/.s.PGSQL.12345`
/// is added.
const LONGEST_FOLDER: usize = 103 - 15;

/// User and group id for the server if we are root.
pub(super) fn unprivileged_user() -> Result<Option<(u32, u32)>> {
    if id(&["-u"]) != Some(0) {
        return Ok(None);
    }
    let ids =
        ["postgres", "nobody"].into_iter().find_map(|name| Some((id(&["-u", name])?, id(&["-g", name])?)));
    match ids {
        Some(ids) => Ok(Some(ids)),
        None => Err(Error::config(
            "PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody` to run it as",
        )),
    }
}

/// What the program `id` says.
fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).stdin(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// The folder for temporary files, or `/tmp` if its path is too long or the unprivileged user can't use it.
pub(super) fn base_folder(unprivileged: bool) -> PathBuf {
    usable(std::path::absolute(env::temp_dir()).unwrap_or_default(), unprivileged)
}

fn usable(folder: PathBuf, unprivileged: bool) -> PathBuf {
    let mode = |folder: &Path| fs::metadata(folder).map(|found| found.mode()).unwrap_or(0);
    let fits =
        folder.to_str().is_some_and(|path| path.len() + "/maypole-123456789abc".len() <= LONGEST_FOLDER);
    let open = || mode(&folder) & 0o3 == 0o3 && folder.ancestors().all(|parent| mode(parent) & 0o1 != 0);
    if fits && (!unprivileged || open()) { folder } else { PathBuf::from("/tmp") }
}

/// A port that is free now, outside of the range from which systems take the ports of outgoing connections: a
/// client that tries again and again while the server restarts could otherwise be given the server's port.
pub(super) fn free_port() -> Result<u16> {
    for _ in 0..1000 {
        let port = 20_000 + u16::from_le_bytes(random()?) % 12_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(Error::connect("no free port between 20000 and 32000 for the embedded server"))
}

/// Bytes nobody can guess.
fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    match File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(Error::connect("/dev/urandom can't be read").caused_by(error)),
    }
}

/// A text of hexadecimal digits nobody can guess, two for each of so many bytes.
pub(super) fn random_text<const BYTES: usize>() -> Result<String> {
    Ok(random::<BYTES>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::fs::DirBuilder;
    use std::os::unix::fs::DirBuilderExt;

    use super::*;

    #[test]
    fn a_folder_that_is_too_deep_for_a_socket_or_closed_to_the_servers_user_is_not_used() {
        let closed = env::temp_dir().join(format!("maypole-machine-{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&closed).unwrap();
        assert_eq!(usable(closed.clone(), false), closed);
        assert_eq!(usable(closed.clone(), true), Path::new("/tmp"));
        assert_eq!(usable(closed.join("deep".repeat(25)), false), Path::new("/tmp"));
        fs::remove_dir(&closed).unwrap();
    }
}
