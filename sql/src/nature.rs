//! What statements do, as far as their text tells. Uses: commands, mistake, needs, reading, statements,
//! structure, tokens.

use crate::commands::WITHOUT_COLUMNS;
use crate::mistake::Mistake;
use crate::needs::need;
use crate::reading::does_more_than_read;
use crate::statements::ranges;
use crate::structure::Structure;
use crate::tokens::Tokens;

/// What a text of SQL does, as far as it tells. What a function of the user's does inside, it does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nature {
    /// Why it can't be a `#[select]`, or nothing if it can.
    pub select: Option<Mistake>,
    /// What in it needs a session or a transaction of its own, such as `LISTEN`, and what to do about it.
    pub session: Option<(String, Mistake)>,
    /// Whether it may return columns. If not, it certainly returns none.
    pub columns: bool,
}

/// What a text of SQL does, as far as it tells.
///
/// `select` is only for what reads and nothing else: SELECT, VALUES, TABLE, and WITH made of these; without locks on
/// rows, without INTO, and without the functions of PostgreSQL that have an effect a read-only transaction does not
/// stop, or that depend on the session (`pg_notify`, `set_config`, advisory locks, sequences, large objects, …).
///
/// Of several statements, the first that can't be a select decides, and the first that needs a session. If the text has a
/// quote or a comment without an end, `select` says so.
///
/// ```
/// use maypole_sql::nature;
///
/// assert!(nature("WITH new AS (SELECT 1) SELECT * FROM new").select.is_none());
/// assert!(nature("WITH new AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM new").select.is_some());
/// assert_eq!(nature("LISTEN orders").session.unwrap().0, "LISTEN");
/// assert!(!nature("DELETE FROM t").columns);
/// ```
pub fn nature(source: &str) -> Nature {
    let (tokens, mistake) = Tokens::of(source);
    if mistake.is_some() {
        return Nature { select: mistake, session: None, columns: true };
    }
    let statements = ranges(&tokens);
    if statements.is_empty() {
        let select = Some(Mistake::new(0, 0, "there is no statement in it: write one"));
        return Nature { select, session: None, columns: false };
    }
    let mut nature = Nature { select: None, session: None, columns: false };
    for place in statements {
        let statement = Structure::of(&tokens, place);
        nature.select = nature.select.or_else(|| does_more_than_read(&statement));
        nature.session = nature.session.or_else(|| need(&statement));
        nature.columns |= may_return_columns(&statement);
    }
    nature
}

/// Whether one of the statements ends a transaction.
///
/// ```
/// use maypole_sql::ends_transactions;
///
/// assert!(ends_transactions("INSERT INTO t VALUES (1); COMMIT"));
/// assert!(!ends_transactions("ROLLBACK TO SAVEPOINT s"));
/// ```
pub fn ends_transactions(source: &str) -> bool {
    let (tokens, _) = Tokens::of(source);
    ranges(&tokens).into_iter().any(|place| {
        let Structure { main, .. } = Structure::of(&tokens, place);
        let to_savepoint = || {
            let word = usize::from(tokens.is_one_of(main + 1, &["WORK", "TRANSACTION"]));
            tokens.is_word(main + 1 + word, "TO")
        };
        tokens.is_one_of(main, &["COMMIT", "END", "ABORT"])
            || tokens.is_word(main, "ROLLBACK") && !to_savepoint()
            || tokens.is_word(main, "PREPARE") && tokens.is_word(main + 1, "TRANSACTION")
    })
}

/// Whether one of the statements is a COPY, from or to a client or a file.
///
/// ```
/// use maypole_sql::copies;
///
/// assert!(copies("/* import */ COPY t FROM STDIN"));
/// assert!(!copies("SELECT 'COPY'"));
/// ```
pub fn copies(source: &str) -> bool {
    let (tokens, _) = Tokens::of(source);
    ranges(&tokens).into_iter().any(|place| tokens.is_word(Structure::of(&tokens, place).main, "COPY"))
}

fn may_return_columns(statement: &Structure<'_, '_>) -> bool {
    let Structure { tokens, main, .. } = *statement;
    if tokens.is_one_of(main, &["INSERT", "UPDATE", "DELETE", "MERGE"]) {
        return statement.outside_brackets(main).any(|index| tokens.is_word(index, "RETURNING"));
    }
    !tokens.is_one_of(main, WITHOUT_COLUMNS)
}
