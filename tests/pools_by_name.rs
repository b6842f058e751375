//! Several databases of one program, each by the name of its setting: each has a pool with limits of its own, and the
//! same name is the same pool. A process of its own, because the working directory, where the settings are found, is
//! one for all.

#[allow(dead_code, unused_imports)]
#[path = "it/support/mod.rs"]
mod support;

use std::time::Duration;
use std::{env, fs};

use maypole::{Database, Result};

use support::pool::{in_coroutine, prepare};
use support::server::server;

static SHOP: Database = Database::named("shop");
/// The same setting by another static, as another module of the program may have it.
static SAME: Database = Database::named("shop");
static ARCHIVE: Database = Database::named("archive");
static WRONG: Database = Database::named("wrong");

fn application(database: &Database) -> Result<String> {
    database.query("SHOW application_name", ()).value()
}

/// The server asks for its password over TCP; the shop's URL leaves it to a file.
fn settings() -> String {
    let url = server().tcp_url();
    let without_password = url.replace(&format!(":{}@", server().password()), "@");
    assert_ne!(url, without_password);
    format!(
        "[default]\n\
         shop = \"postgres://nowhere.invalid/shop\"\n\
         archive = {{ url = \"{url}\", limit = 1, application_name = \"the archive\" }}\n\
         [production.shop]\n\
         url = \"{without_password}\"\n\
         password_file = \"shop.password\"\n\
         application_name = \"the shop\"\n\
         limit = 2\n\
         query_timeout = \"none\"\n\
         session_reset = \"never\"\n\
         [production.wrong]\n\
         url = \"{url}\"\n\
         limit = 2\n\
         min_idle = 3\n"
    )
}

#[test]
fn each_name_has_a_pool_of_its_own_and_the_same_name_shares_one() {
    prepare();
    let folder = env::temp_dir().join(format!("maypole-names-{}", std::process::id()));
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("production.toml"), settings()).expect("a file");
    fs::write(folder.join("shop.password"), format!("{}\n", server().password())).expect("a file");
    #[cfg(unix)]
    fs::set_permissions(folder.join("shop.password"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .expect("ours");
    // As a program would be started: the variables are set before anything else runs.
    let this = env::current_exe().expect("known");
    let child = std::process::Command::new(this)
        .args(["--exact", "the_pools_of_a_program", "--ignored", "--nocapture"])
        .env("MAYPOLE_SETTINGS", folder.join("production.toml"))
        .env("MAYPOLE_ENV", "production")
        .status()
        .expect("started");
    let _ = fs::remove_dir_all(&folder);
    assert!(child.success());
}

/// Run by the test above, with its variables.
#[test]
#[ignore = "run by each_name_has_a_pool_of_its_own_and_the_same_name_shares_one, which sets its environment"]
fn the_pools_of_a_program() {
    prepare();
    assert_eq!(application(&SHOP).expect("an answer"), "the shop");
    assert_eq!(application(&SAME).expect("an answer"), "the shop");
    assert_eq!(in_coroutine(|| application(&ARCHIVE)).expect("an answer"), "the archive");
    let pool = |database: &'static Database| database.pool().expect("made");
    assert_eq!((pool(&SHOP).stats().limit, pool(&ARCHIVE).stats().limit), (2, 1));
    assert_eq!(pool(&SHOP).stats(), pool(&SAME).stats());

    // All of the shop are lent, by both of its names: the next is refused, and the archive is not affected.
    let held = [pool(&SHOP).connection().expect("lent"), pool(&SAME).connection().expect("lent")];
    for database in [&SHOP, &SAME] {
        let refused = pool(database).connection_within(Duration::ZERO).map(drop);
        assert!(refused.expect_err("all are lent").is_timeout());
    }
    assert_eq!(application(&ARCHIVE).expect("an answer"), "the archive");
    let archived = pool(&ARCHIVE).connection().expect("lent");
    assert!(pool(&ARCHIVE).connection_within(Duration::ZERO).map(drop).expect_err("it is lent").is_timeout());
    drop(held);
    assert_eq!(in_coroutine(|| application(&SAME)).expect("an answer"), "the shop");
    drop(archived);

    let error = WRONG.pool().map(drop).expect_err("more idle than there may be");
    let message = error.to_string();
    assert!(message.contains("production.toml, line 14: min_idle: there can't be more"), "{message}");
}
