//! What `#[maypole(…)]` may say.

use maypole::FromRow;

#[derive(FromRow)]
struct Misspelt {
    #[maypole(renam = "type")]
    kind: String,
}

#[derive(FromRow)]
struct NotText {
    #[maypole(rename = 1)]
    kind: String,
}

#[derive(FromRow)]
struct Twice {
    id: i32,
    #[maypole(rename = "id")]
    key: i32,
}

#[derive(FromRow)]
#[maypole(rename = "b")]
struct OnTheStruct {
    a: i32,
}

fn main() {}
