//! What is not a struct with named fields. Each is reported once, and its uses are not.

use maypole::FromRow;

#[derive(FromRow)]
struct Pair(i32, String);

#[derive(FromRow)]
struct Nothing;

#[derive(FromRow)]
enum Mood {
    Glad,
}

#[derive(FromRow)]
struct Borrowed<'a> {
    name: &'a str,
}

fn needs<T: FromRow>() {}

fn main() {
    needs::<Pair>();
    needs::<Nothing>();
    needs::<Mood>();
    needs::<Borrowed<'_>>();
}
