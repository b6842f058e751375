//! What a declared query can't be as a function. Each mistake is reported once, and the calls are not.

use maypole::{Database, Query, query, select};

static DB: Database = Database::named("database");

#[select(DB, "SELECT 1")]
struct NoFunction;

#[select(DB, "SELECT :id")]
fn with_a_body(id: i32) -> Query<i32> {
    unreachable!("{id}")
}

#[select(DB, "SELECT :id")]
async fn asynchronous(id: i32) -> Query<i32>;

#[select(DB, "SELECT :id")]
const fn constant(id: i32) -> Query<i32>;

#[select(DB, "SELECT :id")]
unsafe fn dangerous(id: i32) -> Query<i32>;

#[select(DB, "SELECT :id")]
extern "C" fn foreign(id: i32) -> Query<i32>;

#[select(DB, "SELECT :id")]
extern "C" fn with_any_arguments(id: i32, _: ...) -> Query<i32>;

#[select(DB, "SELECT :id")]
fn changing(mut id: i32) -> Query<i32>;

#[select(DB, "SELECT :id")]
fn lending(ref id: i32) -> Query<i32>;

#[select(DB, "SELECT :id")]
fn nameless(_: i32) -> Query<i32>;

#[select(DB, "SELECT :a, :b")]
fn taken_apart((a, b): (i32, i32)) -> Query<(i32, i32)>;

#[select(DB, "SELECT :id")]
fn with_an_attribute(#[cfg(unix)] id: i32) -> Query<i32>;

#[select(DB, "SELECT :id")]
fn generic<T: maypole::ToSql + Sync>(id: T) -> Query<i32>
where
    T: Copy;

#[select(DB, "SELECT :ids")]
fn of_a_length<const N: usize>(ids: [i32; N]) -> Query<i32>;

#[select(DB, "SELECT :id")]
fn of_some_type(id: Option<impl maypole::ToSql + Sync>) -> Query<i32>;

#[select(DB, "SELECT :id")]
fn bounded(id: i32) -> Query<i32>
where
    i32: Copy;

#[select(DB, "SELECT 1")]
#[query(DB, "SELECT 2")]
fn declared_twice() -> Query<i32>;

#[select(DB, "SELECT :id + :idd; SELECT 2")]
async fn several_mistakes(mut id: i32) -> Query<i32>;

#[query(DB, "INSERT INTO t VALUES (:a, :b, :c, :d, :e, :f, :g, :h, :i, :j, :k, :l, :m, :n, :o, :p, :q, :r, :s, :t, :u, \
             :v, :w, :x, :y, :z, :aa, :ab, :ac, :ad, :ae, :af, :ag)")]
#[rustfmt::skip]
fn too_many(
    a: i32, b: i32, c: i32, d: i32, e: i32, f: i32, g: i32, h: i32, i: i32, j: i32, k: i32, l: i32, m: i32, n: i32,
    o: i32, p: i32, q: i32, r: i32, s: i32, t: i32, u: i32, v: i32, w: i32, x: i32, y: i32, z: i32, aa: i32, ab: i32,
    ac: i32, ad: i32, ae: i32, af: i32, ag: i32,
) -> Query;

struct Customers;

impl Customers {
    #[select(DB, "SELECT :id")]
    fn method(&self, id: i32) -> Query<i32>;
}

fn main() {
    let _ = NoFunction;
    let _: Query<i32> = with_a_body(1);
    let _: Query<i32> = asynchronous(1);
    let _: Query<i32> = constant(1);
    let _: Query<i32> = dangerous(1);
    let _: Query<i32> = foreign(1);
    let _: Query<i32> = with_any_arguments(1);
    let _: Query<i32> = changing(1);
    let _: Query<i32> = lending(1);
    let _: Query<i32> = nameless(1);
    let _: Query<(i32, i32)> = taken_apart((1, 2));
    let _: Query<i32> = with_an_attribute(1);
    let _: Query<i32> = generic(1);
    let _: Query<i32> = of_a_length([1, 2]);
    let _: Query<i32> = of_some_type(Some(1));
    let _: Query<i32> = bounded(1);
    let _: Query<i32> = declared_twice();
    let _: Query<i32> = several_mistakes(1);
    let _: Query<i32> = Customers.method(1);
}
