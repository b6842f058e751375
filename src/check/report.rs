//! What a check of the declared queries found, laid out as one table. Uses: nothing.

use std::fmt;

/// What [`Database::check`](crate::Database::check) found, when no query is wrong: how many there are, and the warnings.
///
/// `Display` prints them as a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    queries: usize,
    entries: Vec<Entry>,
}

/// What was found of one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) file: &'static str,
    pub(super) line: u32,
    /// Why the server would not parse it: a report of its own, which says where it is.
    pub(super) refusal: Option<String>,
    pub(super) findings: Vec<Finding>,
}

/// One thing that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// The parameter or the column, if it is about one.
    pub(super) name: String,
    pub(super) rust: String,
    pub(super) sql: String,
    /// What is wrong, and then what may be done about it, a line each.
    pub(super) message: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Error,
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

impl Entry {
    fn count(&self, severity: Severity) -> usize {
        // What was found of a query that the server refused is why it did: one error.
        if self.refusal.is_some() {
            return usize::from(severity == Severity::Error);
        }
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    pub(super) fn is_clean(&self) -> bool {
        self.refusal.is_none() && self.findings.is_empty()
    }
}

impl Report {
    /// Queries of which there is nothing to tell may be among the entries.
    pub(super) fn new(entries: Vec<Entry>) -> Report {
        let queries = entries.len();
        let mut entries: Vec<Entry> = entries.into_iter().filter(|entry| !entry.is_clean()).collect();
        // The order in which they are registered is the linker's.
        entries.sort_by_key(|entry| (entry.file, entry.line, entry.name));
        Report { queries, entries }
    }

    /// How many queries were checked.
    pub fn queries(&self) -> usize {
        self.queries
    }

    /// How many warnings there are.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    pub(super) fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// Each warning in one line.
    pub(super) fn warning_lines(&self) -> impl Iterator<Item = String> {
        self.entries.iter().flat_map(|entry| {
            let warnings = entry.findings.iter().filter(|finding| finding.severity == Severity::Warning);
            warnings.map(|Finding { name, rust, message, .. }| {
                let Entry { name: query, file, line, .. } = entry;
                format!("query {query} ({file}:{line}), column {name}, {rust}: {}", message.join("; "))
            })
        })
    }

    fn count(&self, severity: Severity) -> usize {
        self.entries.iter().map(|entry| entry.count(severity)).sum()
    }

    /// How wide the columns of the table are, so that those of all queries stand below each other.
    fn widths(&self) -> [usize; 3] {
        let mut widths = [0; 3];
        for finding in self.entries.iter().flat_map(|entry| &entry.findings) {
            for (width, cell) in widths.iter_mut().zip([&finding.name, &finding.rust, &finding.sql]) {
                *width = (*width).max(cell.chars().count());
            }
        }
        widths
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [name, rust, sql] = self.widths();
        for entry in &self.entries {
            match &entry.refusal {
                Some(refusal) => writeln!(f, "{refusal}")?,
                None => writeln!(f, "query {}\n  --> {}:{}", entry.name, entry.file, entry.line)?,
            }
            for finding in &entry.findings {
                let head = format!(
                    "   {:<7}  {:<name$}  {:<rust$}  {:<sql$}",
                    finding.severity, finding.name, finding.rust, finding.sql
                );
                let indent = head.chars().count();
                let mut lines = finding.message.iter();
                let first = lines.next().map_or("", String::as_str);
                writeln!(f, "{}", format!("{head}  {first}").trim_end())?;
                for line in lines {
                    writeln!(f, "{:indent$}  = {line}", "")?;
                }
            }
            writeln!(f)?;
        }
        let (errors, warnings) = (self.errors(), self.warnings());
        write!(
            f,
            "{} checked: {}, {}",
            counted(self.queries, "query", "queries"),
            counted(errors, "error", "errors"),
            counted(warnings, "warning", "warnings")
        )
    }
}

fn counted(n: usize, one: &str, many: &str) -> String {
    match n {
        0 => format!("no {many}"),
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, name: &str, rust: &str, sql: &str, message: &[&str]) -> Finding {
        let message = message.iter().map(|line| (*line).to_owned()).collect();
        Finding { severity, name: name.into(), rust: rust.into(), sql: sql.into(), message }
    }

    fn entry(name: &'static str, line: u32, findings: Vec<Finding>) -> Entry {
        Entry { name, file: "src/a.rs", line, refusal: None, findings }
    }

    #[test]
    fn the_columns_of_all_queries_stand_below_each_other_in_the_order_of_the_source() {
        let refused = Entry {
            refusal: Some("query c failed: no\n  --> src/a.rs:3".into()),
            ..entry("c", 3, vec![finding(Severity::Error, ":y", "i32", "text", &["is why"])])
        };
        let report = Report::new(vec![
            refused,
            entry("clean", 9, Vec::new()),
            entry(
                "b",
                2,
                vec![finding(Severity::Warning, "größe", "B.größe: i32", "int4", &["may be NULL", "do so"])],
            ),
            entry(
                "a",
                1,
                vec![finding(Severity::Error, ":x", "&str", "int4", &["is no number", "one", "two"])],
            ),
        ]);
        assert_eq!(
            report.to_string(),
            "\
query a
  --> src/a.rs:1
   error    :x     &str          int4  is no number
                                       = one
                                       = two

query b
  --> src/a.rs:2
   warning  größe  B.größe: i32  int4  may be NULL
                                       = do so

query c failed: no
  --> src/a.rs:3
   error    :y     i32           text  is why

4 queries checked: 2 errors, 1 warning"
        );
        assert_eq!((report.queries(), report.errors(), report.warnings()), (4, 2, 1));
        let lines: Vec<String> = report.warning_lines().collect();
        assert_eq!(lines, ["query b (src/a.rs:2), column größe, B.größe: i32: may be NULL; do so"]);
    }

    #[test]
    fn a_report_of_nothing_is_one_line() {
        let report = Report::new(vec![entry("a", 1, Vec::new())]);
        assert_eq!(report.to_string(), "1 query checked: no errors, no warnings");
        assert_eq!(Report::new(Vec::new()).to_string(), "no queries checked: no errors, no warnings");
    }
}
