//! Named parameters in all the texts in which other libraries get them wrong.

use maypole_sql::{Mistake, name_parameters, parameters};

/// What the server gets, with the names that are in the text; asserts that it knows them all.
fn sent(source: &str, names: &[&str]) -> String {
    match name_parameters(source, names) {
        Ok(named) => named.text,
        Err(mistakes) => panic!("{}", reports(source, &mistakes)),
    }
}

fn unchanged(source: &str) {
    assert_eq!(sent(source, &[]), source);
    assert_eq!(parameters(source).named, [], "{source}");
}

fn refused(source: &str, names: &[&str]) -> String {
    reports(source, &name_parameters(source, names).expect_err("there is a mistake"))
}

fn reports(source: &str, mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|mistake| mistake.report(source)).collect::<Vec<_>>().join("\n")
}

/// `(parameter, null_test)` of each slot.
fn slots(source: &str, names: &[&str]) -> Vec<(usize, bool)> {
    let named = name_parameters(source, names).expect("no mistake");
    named.slots.iter().map(|slot| (slot.parameter, slot.null_test)).collect()
}

#[test]
fn parameters_are_numbered_in_order_of_appearance_and_shared() {
    assert_eq!(sent("SELECT :b, :a, :b", &["a", "b"]), "SELECT $1, $2, $1");
    assert_eq!(slots("SELECT :b, :a, :b", &["a", "b"]), [(1, false), (0, false)]);
    let many: Vec<String> = (0..12).map(|n| format!("p{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let source = many.iter().map(|name| format!(":{name}")).collect::<Vec<_>>().join(",");
    assert_eq!(sent(&source, &many), "$1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12");
}

#[test]
fn a_parameter_may_stand_wherever_a_value_may() {
    assert_eq!(sent("SELECT(:a)", &["a"]), "SELECT($1)");
    assert_eq!(sent("x=:a", &["a"]), "x=$1");
    assert_eq!(sent("x<:a", &["a"]), "x<$1");
    assert_eq!(sent("x||:a||y", &["a"]), "x||$1||y");
    assert_eq!(sent("-:a", &["a"]), "-$1");
    assert_eq!(sent(":a", &["a"]), "$1");
    assert_eq!(sent("LIMIT :limit OFFSET :offset;", &["limit", "offset"]), "LIMIT $1 OFFSET $2;");
    assert_eq!(sent("INTERVAL '1' * :a", &["a"]), "INTERVAL '1' * $1");
    assert_eq!(sent("x = any(:a)", &["a"]), "x = any($1)");
    assert_eq!(sent("VALUES (:a,:b)", &["a", "b"]), "VALUES ($1,$2)");
    assert_eq!(sent("(:a).city", &["a"]), "($1).city");
    assert_eq!(sent("'a':a", &["a"]), "'a'$1");
}

#[test]
fn names_end_where_postgresql_ends_them() {
    assert_eq!(sent(":_a1 + :A", &["_a1", "A"]), "$1 + $2");
    assert_eq!(sent(":größe+:名", &["größe", "名"]), "$1+$2");
    assert_eq!(sent(":type, :in", &["r#type", "in"]), "$1, $2");
    assert!(refused("SELECT :a$1$", &["a"]).starts_with("unknown parameter :a$1$"));
    assert!(refused("SELECT :Name", &["name"]).starts_with("unknown parameter :Name, did you mean :name?"));
}

#[test]
fn a_space_keeps_a_number_from_becoming_part_of_the_word_before() {
    assert_eq!(sent("SELECT:a", &["a"]), "SELECT $1");
    assert_eq!(sent("é:a", &["a"]), "é $1");
    assert_eq!(sent("1:a", &["a"]), "1 $1");
    assert_eq!(sent("$:a", &["a"]), "$ $1", "two dollar signs would begin a string");
}

#[test]
fn casts_are_no_parameters() {
    unchanged("SELECT a::int, 'x'::text, (1)::numeric(3,2), a :: int");
    assert_eq!(sent("SELECT :a::int", &["a"]), "SELECT $1::int");
    assert_eq!(sent("SELECT :date::date", &["date"]), "SELECT $1::date");
    assert_eq!(sent("SELECT a::int:: text, :b::\"B\"[]", &["b"]), "SELECT a::int:: text, $1::\"B\"[]");
}

#[test]
fn named_arguments_of_functions_are_no_parameters() {
    unchanged("SELECT f(a := 1, b:=2, c => 3)");
    assert_eq!(sent("SELECT f(a := :a, b:=:b, c=>:c)", &["a", "b", "c"]), "SELECT f(a := $1, b:=$2, c=>$3)");
}

#[test]
fn strings_are_left_alone() {
    unchanged("SELECT ':a', 'it''s :a', '', ''':a', 'x'' :a'");
    unchanged(r"SELECT E':a \' :a', e'\\', E'\\\':a', E'a''\':a'");
    unchanged(r"SELECT U&'\0041 '':a', u&':a' UESCAPE '!'");
    unchanged("SELECT B'01:a', b'1', X'1F:a', x'', N':a', n'it''s :a'");
    assert_eq!(sent(r"SELECT '\', :a, '\'", &["a"]), r"SELECT '\', $1, '\'", "a backslash is no escape here");
    assert_eq!(sent(r"SELECT U&'\', :a", &["a"]), r"SELECT U&'\', $1");
    assert_eq!(sent(r"SELECT B'\', :a", &["a"]), r"SELECT B'\', $1");
    assert_eq!(sent(r"SELECT E'\\', :a", &["a"]), r"SELECT E'\\', $1");
    assert_eq!(sent(r"SELECT date'\', :a", &["a"]), r"SELECT date'\', $1", "that e belongs to the word");
}

#[test]
fn strings_are_continued_on_later_lines() {
    unchanged("SELECT 'a'\n':b'");
    unchanged("SELECT E'a'\n'b\\':c'");
    unchanged("SELECT E'a' -- :x'\n  -- :y\r\n 'b\\':c'");
    assert_eq!(
        sent("SELECT E'a' 'b\\', :c", &["c"]),
        "SELECT E'a' 'b\\', $1",
        "on the same line it is another"
    );
    assert_eq!(sent("SELECT E'a'/*\n*/'b\\', :c", &["c"]), "SELECT E'a'/*\n*/'b\\', $1");
    assert_eq!(sent("SELECT 'a'\n'b\\', :c", &["c"]), "SELECT 'a'\n'b\\', $1");
    assert_eq!(sent("SELECT 'a'\n:c", &["c"]), "SELECT 'a'\n$1");
}

#[test]
fn quoted_names_are_left_alone() {
    unchanged(r#"SELECT ":a", "a"":b", U&"\0041:a", t.":a" AS "it's :a""#);
    assert_eq!(sent(r#"SELECT "\", :a"#, &["a"]), r#"SELECT "\", $1"#);
    assert_eq!(sent(r#"SELECT "'", :a, "'""#, &["a"]), r#"SELECT "'", $1, "'""#);
}

#[test]
fn dollar_quotes_are_left_alone() {
    unchanged("SELECT $$ :a ' \" -- /* $$");
    unchanged("SELECT $x$ :a $$ :b $y$ :c $X$ $x$");
    unchanged("SELECT $é1$ :a $é1$, $$$$, $_$ $1 $_$");
    unchanged("DO $do$ BEGIN EXECUTE $$ :a $$; END $do$");
    assert_eq!(sent("SELECT a$b$, :a, c$b$", &["a"]), "SELECT a$b$, $1, c$b$", "part of a name");
    assert_eq!(sent("SELECT $$a$$:a$$b$$", &["a$$b$$"]), "SELECT $$a$$ $1", "part of a parameter's name");
    assert_eq!(sent("SELECT $$a$$ , :a, $$b$$", &["a"]), "SELECT $$a$$ , $1, $$b$$");
    assert_eq!(sent("SELECT 1$$:b$$ , :a", &["a"]), "SELECT 1$$:b$$ , $1", "no part of a number");
}

#[test]
fn comments_are_left_alone() {
    unchanged("SELECT 1 -- :a '\n, 2 -- \" $$ /*");
    unchanged("SELECT /* :a /* :b */ :c ' */ 1 /**/ /***/ /*/ :d */");
    unchanged("SELECT 1 --:a");
    assert_eq!(sent("-- it's\nSELECT :a", &["a"]), "-- it's\nSELECT $1");
    assert_eq!(sent("-- \\\n:a", &["a"]), "-- \\\n$1", "a backslash does not continue a comment");
    assert_eq!(sent("-- x\r:a", &["a"]), "-- x\r$1", "a carriage return ends a line");
    assert_eq!(sent("1 +--:b\n:a", &["a"]), "1 +--:b\n$1", "a comment ends an operator");
    assert_eq!(sent("1 +/*:b*/:a", &["a"]), "1 +/*:b*/$1");
    assert_eq!(sent("1 - -:a", &["a"]), "1 - -$1");
    assert_eq!(sent("/* /* */ */ :a", &["a"]), "/* /* */ */ $1");
}

#[test]
fn operators_are_left_alone() {
    unchanged("SELECT a ? 'b', a ?| array['b'], a ?& b, a @> b, a <@ b, a @@ b, a #> b, a #>> b, a @? b");
    unchanged(
        "SELECT a -> 'b' ->> 'c', a ~* 'b', a !~ b, |/ 2, ||/ 3, @ 4, a && b, a -|- b, a ^@ b, a <-> b",
    );
    assert_eq!(sent("a @>:a", &["a"]), "a @>$1");
    assert_eq!(sent("a ?|:a", &["a"]), "a ?|$1");
    assert_eq!(sent("a @:a", &["a"]), "a @$1");
    assert_eq!(sent("a -> :a ->> :b", &["a", "b"]), "a -> $1 ->> $2");
}

#[test]
fn a_colon_behind_a_value_in_brackets_separates_the_bounds_of_a_slice() {
    unchanged("SELECT a[1:n], a[1:2], a[lo:hi], a[:2], a[1:], a[:], a[lo: hi], a[ lo :hi ]");
    unchanged(
        "SELECT a[f(x):n], a[b[1]:n], a[\"lo\":n], a['1':n], a[(1):n], a[1][2:n], (a)[1:n], $$x$$[1:n]",
    );
    unchanged("SELECT a[t.in:n], a[CASE WHEN x THEN 1 END:n], a[1 /* : */ :n]");
    assert_eq!(sent("a[1 : :n]", &["n"]), "a[1 : $1]");
    assert_eq!(sent("a[:lo : :hi]", &["lo", "hi"]), "a[$1 : $2]");
    assert_eq!(sent("a[:n]", &["n"]), "a[$1]");
    assert_eq!(sent("a[1 + :n]", &["n"]), "a[1 + $1]");
    assert_eq!(sent("a[1 + :n:x]", &["n"]), "a[1 + $1:x]");
    assert_eq!(sent("a[:from::int : x]", &["from"]), "a[$1::int : x]");
    assert_eq!(sent("a[:from:x]", &["from"]), "a[$1:x]");
    assert_eq!(sent("a[f(1, :n):x]", &["n"]), "a[f(1, $1):x]");
    assert_eq!(sent("a[(:n)]", &["n"]), "a[($1)]");
    assert_eq!(sent("(:a)[1:n]", &["a"]), "($1)[1:n]");
    assert_eq!(sent(":a[1:n]", &["a"]), "$1[1:n]");
    assert_eq!(sent("a[CASE WHEN b THEN :n ELSE :m END]", &["n", "m"]), "a[CASE WHEN b THEN $1 ELSE $2 END]");
    assert_eq!(sent("a[1:n] = :m", &["m"]), "a[1:n] = $1");
}

#[test]
fn a_list_of_elements_is_no_slice() {
    assert_eq!(sent("ARRAY[:a, :b]", &["a", "b"]), "ARRAY[$1, $2]");
    assert_eq!(sent("array[[1,:a],[:b,2]]", &["a", "b"]), "array[[1,$1],[$2,2]]");
    assert_eq!(sent("(ARRAY[:a])[1:n]", &["a"]), "(ARRAY[$1])[1:n]");
}

#[test]
fn a_slice_that_looks_as_if_it_had_a_parameter_is_a_mistake() {
    assert_eq!(
        refused("SELECT a[1:n]", &["n"]),
        "this colon separates the bounds of a slice, so n would be a column: write `: :n` for the parameter, \
         or `: n` for the column\n   | SELECT a[1:n]\n   |           ^^"
    );
    assert_eq!(sent("SELECT a[1: n], :n", &["n"]), "SELECT a[1: n], $1");
    assert!(refused("SELECT a[:n]", &[]).contains("For the slice up to column n write `: n`"));
}

#[test]
fn a_mistyped_name_is_a_mistake() {
    assert_eq!(
        refused("SELECT id\nFROM t\nWHERE \tname = :nmae", &["id", "name"]),
        "unknown parameter :nmae, did you mean :name?\n   | WHERE  name = :nmae\n   |               ^^^^^\n\
         parameter :id is not used: use it in the SQL, or remove it"
    );
    assert!(refused("SELECT :x", &[]).starts_with("unknown parameter :x, there are no parameters\n"));
    assert!(
        refused("SELECT :x, :first, :second", &["first", "second"])
            .starts_with("unknown parameter :x, there is only :first, :second\n")
    );
}

#[test]
fn every_mistake_is_told_at_once() {
    let mistakes = name_parameters("SELECT :a, :b, $1", &["c", "d"]).unwrap_err();
    assert_eq!(mistakes.len(), 5, "{mistakes:?}");
}

#[test]
fn a_name_that_is_not_used_may_seem_to_be() {
    assert_eq!(
        refused("SELECT 1 WHERE a LIKE '%:name%'", &["name"]),
        "parameter :name is not used: in quotes it is text; write it outside, as in '%' || :name || '%'\n   \
         | SELECT 1 WHERE a LIKE '%:name%'\n   |                         ^^^^^"
    );
    assert!(
        refused("SELECT a[:lo::hi]", &["lo", "hi"])
            .starts_with("parameter :hi is not used: `::hi` is a cast")
    );
    assert!(
        refused("SELECT 1 = : id", &["id"])
            .starts_with("parameter :id is not used: write `:id` without a space")
    );
    assert!(refused("SELECT '::id :ids'", &["id"]).ends_with("remove it"));
}

#[test]
fn numbered_parameters_do_not_mix_with_named_ones() {
    assert_eq!(
        refused("SELECT :a, $12", &["a"]),
        "numbered and named parameters do not mix: give $12 a name, as in :name\n   \
         | SELECT :a, $12\n   |            ^^^"
    );
    assert_eq!(parameters("SELECT ':a', $1, $2").numbered, Some(13));
    assert_eq!(parameters("SELECT '$1', a$1, $$ $1 $$ -- $1").numbered, None);
}

#[test]
fn what_has_no_end_is_a_mistake_at_its_beginning() {
    let begin = |source: &str| {
        let mistakes = name_parameters(source, &[]).unwrap_err();
        assert_eq!(mistakes.len(), 1);
        (mistakes[0].at, mistakes[0].length)
    };
    assert_eq!(begin("SELECT 'a''"), (7, 1));
    assert_eq!(begin("SELECT E'a\\'"), (7, 2));
    assert_eq!(begin("SELECT E'a\\"), (7, 2));
    assert_eq!(begin("SELECT 'a'\n'b"), (7, 1));
    assert_eq!(begin("SELECT \"a\"\""), (7, 1));
    assert_eq!(begin("SELECT U&\"a"), (7, 3));
    assert_eq!(begin("SELECT U&'a"), (7, 3));
    assert_eq!(begin("SELECT $a$ $b$ $A$"), (7, 3));
    assert_eq!(begin("SELECT $$ $"), (7, 2));
    assert_eq!(begin("SELECT /* /* */"), (7, 2));
    assert_eq!(begin("SELECT /*/"), (7, 2));
    assert_eq!(begin("SELECT '\0'"), (8, 1));
}

#[test]
fn a_bare_test_for_null_has_a_number_of_its_own() {
    let source = "SELECT 1 WHERE :x IS NULL OR name = :x AND (:x IS NOT NULL)";
    assert_eq!(sent(source, &["x"]), "SELECT 1 WHERE $1 IS NULL OR name = $2 AND ($1 IS NOT NULL)");
    assert_eq!(slots(source, &["x"]), [(0, true), (0, false)]);
    for test in [
        "WHERE :x IS NULL",
        "WHERE (:x is\n /* it */ not -- yes\n null)",
        "WHERE NOT :x IS NULL",
        "WHERE a AND :x IS NULL",
        "WHERE a OR :x ISNULL",
        "SELECT :x NOTNULL",
        "SELECT a, :x IS NULL",
        "CASE WHEN :x IS NULL THEN 1 END",
        "CASE WHEN a THEN :x IS NULL ELSE :x IS NULL END",
        "f(a => :x IS NULL, b := :x IS NULL)",
        "JOIN t ON :x IS NULL",
        "ORDER BY :x IS NULL",
        "WHERE a BETWEEN 1 AND 2 AND :x IS NULL",
        "WHERE (a BETWEEN 1 AND 2) AND :x IS NULL",
        "WHERE a AND (:x IS NULL)",
        "WHERE a BETWEEN CASE WHEN b AND c THEN 1 END AND 2 AND :x IS NULL",
        "WHERE t.in AND :x IS NULL AND true",
        "WHERE a BETWEEN 1 AND 2 OR b AND :x IS NULL = true",
    ] {
        assert!(slots(test, &["x"]).iter().all(|slot| slot.1), "{test}");
    }
}

#[test]
fn a_test_of_a_larger_expression_has_no_number_of_its_own() {
    for test in [
        "WHERE a = :x IS NULL",
        "WHERE (a + :x IS NULL)",
        "WHERE -:x IS NULL",
        "WHERE a || :x IS NOT NULL",
        "WHERE :x::int IS NULL",
        "WHERE (:x) IS NULL",
        "WHERE :x.a IS NULL",
        "WHERE :x[1] IS NULL",
        "WHERE a LIKE :x IS NULL",
        "WHERE a IN (1, 2) = :x IS NULL",
        "WHERE a IS DISTINCT FROM :x IS NULL",
        "WHERE a BETWEEN 1 AND :x IS NULL",
        "WHERE a BETWEEN (1 AND 2) AND :x IS NULL",
        "WHERE a AND b BETWEEN SYMMETRIC f(1) AND :x IS NULL",
        "WHERE a BETWEEN CASE WHEN b AND c THEN 1 END AND :x IS NULL",
        "WHERE a OPERATOR(pg_catalog.+) :x IS NULL",
        "WHERE a AT TIME ZONE :x IS NULL",
        "WHERE t.or :x IS NULL",
        "WHERE :x IS NOT DISTINCT FROM NULL",
        "WHERE :x IS TRUE",
        "WHERE :x IS \"null\"",
        "WHERE :x COLLATE \"C\" IS NULL",
        ":x IS NULL",
    ] {
        assert_eq!(slots(test, &["x"]), [(0, false)], "{test}");
    }
}

#[test]
fn a_list_with_one_parameter_only_is_told() {
    let found = |source| -> Vec<(bool, bool)> {
        parameters(source).named.iter().map(|used| (used.sole_in, used.negated)).collect()
    };
    assert_eq!(found("id IN (:ids)"), [(true, false)]);
    assert_eq!(found("id in( /* all */ :ids )"), [(true, false)]);
    assert_eq!(found("id NOT IN (:ids)"), [(true, true)]);
    assert_eq!(found("id IN (:a, :b)"), [(false, false), (false, false)]);
    assert_eq!(found("id IN (:ids::int)"), [(false, false)]);
    assert_eq!(found("id IN ((:ids))"), [(false, false)]);
    assert_eq!(found("(:ids)"), [(false, false)]);
    assert_eq!(found("id = ANY(:ids)"), [(false, false)]);
}

#[test]
fn parameters_are_found_before_a_quote_without_end() {
    let found = parameters("SELECT :a, ' :b");
    assert_eq!(found.named.iter().map(|used| (used.name, used.at)).collect::<Vec<_>>(), [("a", 7)]);
}

#[test]
fn a_parameter_that_is_a_whole_key_of_sorting_or_grouping_is_refused() {
    assert_eq!(
        refused("SELECT id\n  FROM t\n ORDER BY a, :x::text DESC LIMIT :n", &["x", "n"]),
        ":x is a value, not the name of a column, and the same for all rows, so nothing is sorted by it: write \
         `ORDER BY CASE :x WHEN 'name' THEN name … END`, or one query for each order\n   \
         |  ORDER BY a, :x::text DESC LIMIT :n\n   |              ^^"
    );
    assert_eq!(
        refused("SELECT count(*) FROM t GROUP BY :x", &["x"]),
        ":x is a value, not the name of a column, and the same for all rows, so all rows fall into one group: write \
         `GROUP BY CASE :x WHEN 'name' THEN name … END`, or one query for each grouping\n   \
         | SELECT count(*) FROM t GROUP BY :x\n   |                                 ^^"
    );
    for key in [
        "ORDER BY :x",
        "order/* */by\n:x",
        "ORDER BY :x;",
        "ORDER BY :x, a",
        "ORDER BY a DESC NULLS LAST, :x NULLS FIRST",
        "ORDER BY f(a, b), :x",
        "ORDER BY a[1], :x ASC",
        "ORDER BY :x USING <",
        "ORDER BY (:x)",
        "ORDER BY a, (( :x )::text), b",
        "ORDER BY :x::pg_catalog.int4",
        "ORDER BY :x::varchar(10)::double precision DESC",
        "ORDER BY :x::int[]",
        "ORDER BY :x COLLATE \"C\" DESC",
        "ORDER BY :x OFFSET 1 LIMIT 2",
        "ORDER BY :x FETCH FIRST ROW ONLY",
        "ORDER BY :x FOR UPDATE",
        "ORDER BY (SELECT 1 ORDER BY a LIMIT 1), :x",
        "SELECT (SELECT a ORDER BY b LIMIT :x) ORDER BY :x",
        "GROUP BY a, :x HAVING true",
        "GROUP BY DISTINCT :x",
        "GROUP BY :x ORDER BY a",
        "GROUP BY a ORDER BY :x",
        "GROUP BY :x UNION ALL SELECT 1",
        "SELECT a FROM (SELECT b FROM t ORDER BY :x) AS s",
        "SELECT rank() OVER (PARTITION BY :x ORDER BY a)",
        "SELECT rank() OVER (PARTITION BY a ORDER BY :x ROWS UNBOUNDED PRECEDING)",
        "SELECT 1 WINDOW w AS (ORDER BY a), v AS (ORDER BY :x)",
        "SELECT string_agg(a, ',' ORDER BY :x)",
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY :x)",
        "INSERT INTO t SELECT a FROM u ORDER BY :x RETURNING id",
    ] {
        let mistakes = name_parameters(key, &["x"]).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{key}");
        assert!(mistakes[0].message.starts_with(":x is a value, "), "{key}: {}", mistakes[0]);
    }
}

#[test]
fn a_parameter_in_an_expression_by_which_rows_are_sorted_is_fine() {
    for fine in [
        "ORDER BY :x <-> p",
        "ORDER BY p <-> :x",
        "ORDER BY p <-> (:x)",
        "ORDER BY :x::point <-> p",
        "ORDER BY (:x)::point <-> p",
        "ORDER BY -:x",
        "ORDER BY CASE :x WHEN 'a' THEN a END",
        "ORDER BY CASE WHEN a THEN :x END, b",
        "ORDER BY CASE WHEN a THEN b ELSE :x END",
        "ORDER BY f(:x)",
        "ORDER BY f(a, :x), f((:x)), f(a, (:x), b)",
        "ORDER BY a = ANY(:x)",
        "ORDER BY a IN (:x)",
        "ORDER BY (a, :x)",
        "ORDER BY ARRAY[:x]",
        "ORDER BY :x IS NULL, a",
        "ORDER BY :x AT TIME ZONE a",
        "ORDER BY a[:x]",
        "ORDER BY a LIMIT :x OFFSET :x",
        "ORDER BY a FETCH FIRST (:x) ROWS ONLY",
        "ORDER BY (SELECT a FROM t WHERE id = :x)",
        "ORDER BY array_position(:x, a), a",
        "GROUP BY date_trunc(:x, a)",
        "GROUP BY a HAVING count(*) > :x",
        "SELECT a, :x FROM t ORDER BY a",
        "SELECT (SELECT a ORDER BY b), :x",
        "SELECT f(a ORDER BY b), :x",
        "SELECT a ORDER BY b UNION SELECT c, :x",
        "INSERT INTO t (a, b) SELECT a, b FROM u ORDER BY a RETURNING id, :x",
        "INSERT INTO t SELECT a FROM u GROUP BY a ON CONFLICT (a) DO UPDATE SET (a, b) = (:x, :x)",
        "INSERT INTO t VALUES (:x), (:x)",
        "SELECT sum(a) OVER (ORDER BY b ROWS BETWEEN :x PRECEDING AND CURRENT ROW)",
        "SELECT \"order\" by, :x",
        "SELECT 1 WHERE t.order BY, :x",
    ] {
        assert_eq!(
            name_parameters(fine, &["x"]).map_err(|mistakes| mistakes[0].to_string()).err(),
            None,
            "{fine}"
        );
    }
}

#[test]
fn a_parameter_written_as_elsewhere_is_told_how_to_write() {
    assert_eq!(
        refused("SELECT 1 WHERE id = ? AND name=?", &["id", "name"]),
        "parameter :id is not used: write `:id` in place of `?`\n   \
         | SELECT 1 WHERE id = ? AND name=?\n   |                     ^\n\
         parameter :name is not used: write `:name` in place of `?`\n   \
         | SELECT 1 WHERE id = ? AND name=?\n   |                                ^"
    );
    for (source, written) in [
        ("WHERE id = @id", "@id"),
        ("WHERE id=@id", "@id"),
        ("WHERE id = $id", "$id"),
        ("WHERE id = {id}", "{id}"),
        ("WHERE id = { id }", "{ id }"),
        ("WHERE id = ${id}", "${id}"),
        ("WHERE id = #{id} AND a ? 'b'", "#{id}"),
        ("VALUES (?)", "?"),
        ("SELECT a ? 'b' AND a @? 'c' WHERE a LIKE ?", "?"),
        ("WHERE a BETWEEN ? AND 2", "?"),
        ("SELECT ?::int", "?"),
    ] {
        let mistakes = name_parameters(source, &["id"]).unwrap_err();
        assert_eq!(mistakes.len(), 1, "{source}");
        assert_eq!(
            mistakes[0].message,
            format!("parameter :id is not used: write `:id` in place of `{written}`"),
            "{source}"
        );
        assert_eq!(&source[mistakes[0].at..mistakes[0].at + mistakes[0].length], written);
    }
}

#[test]
fn operators_of_postgresql_are_not_taken_for_parameters() {
    for source in [
        "SELECT a <@id",
        "SELECT a ? 'id', (a) ? id, a ?| b, a @? c, a[1] ? (id)",
        "SELECT id",
        "SELECT @ id",
    ] {
        let mistakes = name_parameters(source, &["id"]).unwrap_err();
        assert_eq!(
            mistakes[0].message, "parameter :id is not used: use it in the SQL, or remove it",
            "{source}"
        );
    }
}
