//! Imports point one way: a module uses what stands before it in this list, and says so in its first lines.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// From the bottom up (docs/design.md, "Layers").
const ORDER: &[&str] = &[
    "sqlstate",
    "error",
    "secret",
    "suggest",
    "deadline",
    "random",
    "sync",
    "coro",
    "guard",
    "keeper",
    "promise",
    "workers",
    "off_thread",
    "net",
    "conninfo",
    "config",
    "params",
    "declared",
    "source",
    "columns",
    "render",
    "row",
    "json",
    "outline",
    "from_row",
    "serde_rows",
    "derived",
    "protocol",
    "connection",
    "pool",
    "rows",
    "call",
    "query",
    "script",
    "sql",
    "transaction",
    "embedded",
    "settings",
    "application",
    "database",
    "transaction_function",
    "registry",
    "check",
    "fuzzing",
];

/// The pure cores, which must know neither I/O nor coroutines nor clocks.
const PURE: &[&str] = &["protocol", "pool/core"];

#[test]
fn imports_point_downwards_only() {
    let mut wrong = Vec::new();
    for (file, module, text) in sources() {
        let level = level(&module).unwrap_or_else(|| panic!("{module} has no place in the order: add it"));
        for used in crate_modules(&text) {
            match self::level(&used) {
                Some(other) if other < level || used == module => {}
                Some(_) => {
                    wrong.push(format!("{}: uses {used}, which stands above {module}", file.display()))
                }
                None => {
                    wrong.push(format!("{}: uses {used}, which has no place in the order", file.display()))
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_uses() {
    let mut wrong = Vec::new();
    for (file, module, text) in sources() {
        let head: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        let Some((_, uses)) = head.rsplit_once("Uses:") else {
            wrong.push(format!("{}: its first lines do not say \"Uses: …\"", file.display()));
            continue;
        };
        let listed: BTreeSet<&str> = uses.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
        for used in crate_modules(&text) {
            if used != module && !listed.contains(used.as_str()) {
                wrong.push(format!("{}: uses {used} and does not say so", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_cores_are_pure() {
    for (file, _, text) in sources() {
        let path = file.to_string_lossy().replace('\\', "/");
        if PURE.iter().any(|pure| path.contains(&format!("src/{pure}"))) {
            for impure in [
                "std::io::Read",
                "std::net",
                "std::thread",
                "may::",
                "Instant::now",
                "SystemTime",
                "parking_lot",
            ] {
                assert!(!text.contains(impure), "{path} is pure and mentions {impure}");
            }
        }
    }
}

#[test]
fn two_unsafe_expressions_and_no_thread_locals() {
    let mut unsafes = 0;
    for (file, _, text) in sources() {
        for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
            assert!(!line.contains("thread_local!"), "{}: {line}", file.display());
            assert!(!line.contains("thread::panicking"), "{}: {line}", file.display());
            unsafes += usize::from(
                line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("unsafe impl"),
            );
        }
    }
    assert_eq!(unsafes, 2, "only the spawn and the cancel in coro.rs");
}

#[test]
fn the_promises_name_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let promises = fs::read_to_string(root.join("docs/promises.md")).expect("readable");
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        collect_all(&root.join(folder), &mut files);
    }
    let all: String = files.iter().map(|file| fs::read_to_string(file).expect("readable")).collect();
    let names: Vec<&str> =
        promises.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() >= 2).collect();
    assert!(names.len() > 30, "the names are found");
    for name in names {
        assert!(all.contains(&format!("fn {name}(")), "{name} is promised, and is no test");
    }
}

fn collect_all(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            collect_all(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Each file of the library with its top-level module and its text, tests left out.
fn sources() -> Vec<(PathBuf, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let sources: Vec<_> = files
        .into_iter()
        .filter_map(|file| {
            let inside = file.strip_prefix(&root).expect("found below it").with_extension("");
            let module = inside.components().next()?.as_os_str().to_str()?.to_owned();
            let text = fs::read_to_string(&file).expect("readable");
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default().to_owned();
            (module != "lib").then_some((file, module, text))
        })
        .collect();
    assert!(sources.len() > 30, "the sources are found");
    sources
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !matches!(name.as_str(), "tests" | "testing" | "explore" | "stress")
        {
            files.push(path);
        }
    }
}

fn level(module: &str) -> Option<usize> {
    ORDER.iter().position(|other| *other == module)
}

/// The top-level modules after each `crate::` in code.
fn crate_modules(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
        // What a macro writes with `$crate` is its user's business.
        for (at, _) in line.match_indices("crate::").filter(|(at, _)| !line[..*at].ends_with('$')) {
            let rest = &line[at + "crate::".len()..];
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !name.is_empty() && name.chars().all(|c| c.is_lowercase() || c == '_') {
                found.insert(name);
            }
        }
    }
    found
}
