//! A field that no column can be read into.

use maypole::FromRow;

struct Celsius(f64);

#[derive(FromRow)]
struct Weather {
    day: i32,
    temperature: Celsius,
}

fn main() {}
