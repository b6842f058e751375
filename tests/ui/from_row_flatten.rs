//! What can be flattened, and what can't be said of it.

use maypole::FromRow;

#[derive(FromRow)]
struct Customer {
    id: i32,
}

#[derive(FromRow)]
struct Renamed {
    #[maypole(flatten, rename = "customer")]
    customer: Customer,
}

#[derive(FromRow)]
struct WithJson {
    #[maypole(json, flatten = "customer_")]
    customer: Customer,
}

#[derive(FromRow)]
struct WithDefault {
    #[maypole(flatten, default)]
    customer: Customer,
}

#[derive(FromRow)]
struct NotText {
    #[maypole(flatten = customer_)]
    customer: Customer,
}

struct Plain;

#[derive(FromRow)]
struct NoRow {
    #[maypole(flatten)]
    plain: Plain,
}

#[derive(FromRow)]
struct OneValue {
    #[maypole(flatten)]
    id: Option<i32>,
}

#[derive(FromRow)]
struct Forgotten {
    customer: Customer,
}

fn main() {}
