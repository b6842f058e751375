//! What `json` and `default` need of a type.

use maypole::FromRow;

struct Plain;

#[derive(FromRow)]
struct NoSerde {
    #[maypole(json)]
    plain: Plain,
}

#[derive(FromRow)]
struct NoDefault {
    #[maypole(default)]
    address: std::net::IpAddr,
}

fn main() {}
