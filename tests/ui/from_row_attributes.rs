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
struct NoText {
    #[maypole(rename)]
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

#[derive(FromRow)]
#[maypole(strict)]
struct Unknown {
    a: i32,
}

#[derive(FromRow)]
#[maypole(default)]
struct AllDefault {
    a: i32,
}

#[derive(FromRow)]
struct LaxField {
    #[maypole(lax)]
    a: i32,
}

#[derive(FromRow)]
#[maypole(rename_all = "camel")]
struct NoSuchCase {
    a: i32,
}

#[derive(FromRow)]
struct Repeated {
    #[maypole(default, default)]
    a: i32,
}

#[derive(FromRow)]
struct WithValue {
    #[maypole(default = "zero")]
    a: i32,
}

#[derive(FromRow)]
#[maypole(rename_all = "UPPERCASE")]
struct TwiceByCase {
    a: i32,
    #[maypole(rename = "A")]
    b: i32,
}

fn needs<T: FromRow>() {}

fn main() {
    needs::<Misspelt>();
    needs::<NoSuchCase>();
}
