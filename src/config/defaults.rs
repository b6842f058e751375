//! What libpq takes from the machine when nothing is said. Uses: nothing.

use std::fs;
use std::path::{Path, PathBuf};

/// An environment variable of the process; one that is not UTF-8 counts as unset.
pub(super) fn process_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Debian's folder for Unix sockets if it exists, else that of PostgreSQL's own sources.
pub(super) fn socket_folder() -> PathBuf {
    let debian = Path::new("/var/run/postgresql");
    if debian.is_dir() { debian.to_owned() } else { PathBuf::from("/tmp") }
}

/// The name of the operating system's user: from the environment, or from the list of users by number.
pub(super) fn system_user(variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| variable(name).filter(|user| !user.is_empty()))
        .or_else(|| user_with_id(&fs::read_to_string("/etc/passwd").ok()?, process_user_id()?))
}

/// The number of the user that this process runs as, without a call that needs `unsafe`.
fn process_user_id() -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    Some(fs::metadata("/proc/self").ok()?.uid())
}

/// The name in a list of users (`name:password:number:…`).
fn user_with_id(users: &str, id: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_is_found_by_number() {
        let users = "root:x:0:0:root:/root:/bin/sh\n\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(user_with_id(users, 1000).as_deref(), Some("ann"));
        assert_eq!(user_with_id(users, 0).as_deref(), Some("root"));
        assert_eq!(user_with_id(users, 100), None);
    }

    #[test]
    fn the_environment_names_the_user_before_the_list_does() {
        let only = |known: &'static str| move |name: &str| (name == known).then(|| "ann".to_owned());
        assert_eq!(system_user(&only("USER")).as_deref(), Some("ann"));
        assert_eq!(system_user(&only("LOGNAME")).as_deref(), Some("ann"));
        assert_eq!(system_user(&|name| Some(if name == "USER" { "" } else { "bob" }.into())).unwrap(), "bob");
    }
}
