//! Any text: it is read without a panic, and what is no parameter survives the rewriting.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = maypole_sql::nature(text);
    let _ = maypole_sql::statements(text);
    let used = maypole_sql::parameters(text);
    let mut names: Vec<&str> = used.named.iter().map(|one| one.name).collect();
    names.sort_unstable();
    names.dedup();
    match maypole_sql::name_parameters(text, &names) {
        Ok(named) => {
            let edits: Vec<_> = named.edits.iter().map(|edit| (edit.sent, edit.source)).collect();
            let source: Vec<char> = text.chars().collect();
            for (at, sent) in named.text.chars().enumerate() {
                let at = maypole_sql::source_character(&edits, u32::try_from(at).expect("short"));
                let meant = source.get(usize::try_from(at).expect("short"));
                // What stands for a parameter (`$1`, a space before it) points into its name.
                let ours = sent == '$' || sent == ' ' || sent.is_ascii_digit();
                assert!(meant == Some(&sent) || ours, "{at}: {sent:?} for {meant:?}");
            }
        }
        Err(mistakes) => {
            for mistake in mistakes {
                let _ = mistake.report(text);
            }
        }
    }
});
