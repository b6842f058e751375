//! Which columns of a result an outer join may leave without a value, by the server's plan. Uses: nothing.

use serde_json::Value;

/// For each of so many columns: whether it is a bare output of a join's side that rows may be missing of. None if it is
/// not a plan.
///
/// `plan` is what EXPLAIN (VERBOSE, FORMAT JSON) says. What is computed from such an output, `coalesce(…)` for instance, is
/// another output and not told of: whether it can be NULL only its author knows. Nor is what the plan renames on the way.
pub(super) fn outer_joined(plan: &str, columns: usize) -> Option<Vec<bool>> {
    let explained: Value = serde_json::from_str(plan).ok()?;
    let top = explained.get(0)?.get("Plan")?;
    let outputs: Vec<&str> = outputs(top).collect();
    // Behind the columns may stand what is only sorted by.
    let results = outputs.get(..columns)?;
    let missing = missing(top);
    let told = results.iter().map(|result| missing.iter().any(|output| refers_to(result, output)));
    Some(told.collect())
}

/// The outputs of all sides of joins that rows may be missing of.
fn missing(top: &Value) -> Vec<&str> {
    let mut missing = Vec::new();
    // Not by recursion: plans nest as deep as they like.
    let mut nodes = vec![top];
    while let Some(node) = nodes.pop() {
        let side = match text(node, "Join Type") {
            Some("Left") => &["Inner"][..],
            Some("Right") => &["Outer"],
            Some("Full") => &["Inner", "Outer"],
            _ => &[],
        };
        for child in node.get("Plans").and_then(Value::as_array).into_iter().flatten() {
            let relationship = text(child, "Parent Relationship").unwrap_or_default();
            // Those have columns of their own, and may show columns of ours without being joined with them.
            if matches!(relationship, "InitPlan" | "SubPlan") {
                continue;
            }
            if side.contains(&relationship) {
                missing.extend(outputs(child));
            }
            nodes.push(child);
        }
    }
    missing
}

fn text<'a>(node: &'a Value, key: &str) -> Option<&'a str> {
    node.get(key).and_then(Value::as_str)
}

fn outputs(node: &Value) -> impl Iterator<Item = &str> {
    node.get("Output").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// Whether an output is that of a node below. What a node below has computed is shown in parentheses.
fn refers_to(output: &str, below: &str) -> bool {
    if is_column(below) {
        return output == below;
    }
    let inner = output.strip_prefix('(').and_then(|output| output.strip_suffix(')'));
    inner == Some(below) || is_in_parentheses(below) && output == below
}

/// Whether it is `table.column`, each perhaps in double quotes.
fn is_column(output: &str) -> bool {
    let mut parts = 0;
    let mut rest = output;
    loop {
        let after = match rest.strip_prefix('"') {
            Some(quoted) => match end_of_quoted(quoted) {
                Some(after) => after,
                None => return false,
            },
            None => {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
                let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
                if !word.starts_with(|c: char| c.is_alphabetic() || c == '_') {
                    return false;
                }
                after
            }
        };
        parts += 1;
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None => return after.is_empty() && parts == 2,
        }
    }
}

/// What follows the closing quote; a quote inside is doubled.
fn end_of_quoted(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        let (_, after) = rest.split_once('"')?;
        match after.strip_prefix('"') {
            Some(doubled) => rest = doubled,
            None => return Some(after),
        }
    }
}

/// Whether its first parenthesis is closed by its last character.
fn is_in_parentheses(output: &str) -> bool {
    let mut depth = 0usize;
    for (at, c) in output.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at > 0 && at + 1 == output.len();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A join as EXPLAIN shows it.
    fn join(kind: &str, output: &[&str], outer: Value, inner: Value) -> Value {
        let mut node = serde_json::json!({"Node Type": "Hash Join", "Join Type": kind, "Output": output});
        node["Plans"] = Value::Array(vec![related("Outer", outer), related("Inner", inner)]);
        node
    }

    fn scan(output: &[&str]) -> Value {
        serde_json::json!({"Node Type": "Seq Scan", "Output": output})
    }

    fn related(relationship: &str, mut node: Value) -> Value {
        node["Parent Relationship"] = relationship.into();
        node
    }

    fn told(plan: Value, columns: usize) -> Vec<bool> {
        outer_joined(&serde_json::json!([{"Plan": plan}]).to_string(), columns).expect("a plan")
    }

    #[test]
    fn the_side_that_may_be_missing_is_told_for_each_kind_of_join() {
        let (c, o) = (["c.id", "c.name"], ["o.total", "o.\"Name \"\".\""]);
        let output = ["c.name", "o.total", "o.\"Name \"\".\"", "c.id"];
        for (kind, expected) in [
            ("Inner", [false; 4]),
            ("Semi", [false; 4]),
            ("Left", [false, true, true, false]),
            ("Right", [true, false, false, true]),
            ("Full", [true; 4]),
        ] {
            assert_eq!(told(join(kind, &output, scan(&c), scan(&o)), 4), expected, "{kind}");
        }
    }

    #[test]
    fn what_is_computed_above_the_join_is_not_told() {
        let plan = join(
            "Left",
            &["COALESCE(o.total, 0)", "(o.total + 1)", "1"],
            scan(&["c.id"]),
            scan(&["o.total", "1"]),
        );
        assert_eq!(told(plan, 3), [false; 3]);
    }

    #[test]
    fn what_is_computed_below_the_join_is_told() {
        let output = ["(count(*))", "count(*)", "((o.total + 1))"];
        let plan = join("Left", &output, scan(&["c.id"]), scan(&["count(*)", "(o.total + 1)"]));
        assert_eq!(told(plan, 3), [true, false, true]);
        // Through a node that only passes it on.
        let plan = join("Left", &output, scan(&["c.id"]), scan(&["(count(*))"]));
        assert_eq!(told(plan, 3), [true, false, false]);
    }

    #[test]
    fn joins_are_found_below_other_nodes_and_not_in_subqueries_of_expressions() {
        let left = join("Left", &["c.id", "o.total"], scan(&["c.id"]), scan(&["o.total"]));
        let mut sort = scan(&["o.total", "c.id"]);
        sort["Plans"] = Value::Array(vec![related("Outer", left.clone())]);
        assert_eq!(told(sort.clone(), 2), [true, false]);
        assert_eq!(told(sort.clone(), 1), [true], "what is only sorted by stands behind");
        sort["Plans"] = Value::Array(vec![related("SubPlan", left)]);
        assert_eq!(told(sort, 2), [false, false]);
    }

    #[test]
    fn what_is_no_plan_tells_nothing() {
        assert_eq!(outer_joined("", 1), None);
        assert_eq!(outer_joined("[]", 1), None);
        assert_eq!(outer_joined("[\"Utility Statement\"]", 1), None);
        assert_eq!(outer_joined(r#"[{"Plan": {"Output": ["a.b"]}}]"#, 2), None);
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        assert_eq!(outer_joined(&deep, 1), None);
    }
}
