//! A type that a row can't be turned into.

use maypole::FromRow;

struct Customer;

fn needs<T: FromRow>() {}

fn main() {
    needs::<Customer>();
    needs::<&str>();
}
