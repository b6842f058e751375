//! The values of a query's parameters. Uses: nothing.

use postgres_types::ToSql;

/// What may stand for the parameters `$1, $2 …` of a query: a tuple, `()` for none, or a slice of references.
///
/// ```
/// use maypole::Params;
/// fn count(params: impl Params) -> usize { params.len() }
/// assert_eq!(count(()), 0);
/// assert_eq!(count((52, "Leonard")), 2);
/// assert_eq!(count(&[&52 as &(dyn maypole::ToSql + Sync), &"Leonard"][..]), 2);
/// ```
pub trait Params {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value at this place, counted from 0.
    ///
    /// # Panics
    ///
    /// If there are not so many.
    fn get(&self, index: usize) -> &(dyn ToSql + Sync);

    /// Their names, if they stand for `:name` and not for `$1, $2 …`: see [`params!`](crate::params).
    fn names(&self) -> Option<&[&'static str]> {
        None
    }
}

impl Params for () {
    fn len(&self) -> usize {
        0
    }

    fn get(&self, index: usize) -> &(dyn ToSql + Sync) {
        panic!("there is no parameter at {index}")
    }
}

impl Params for &[&(dyn ToSql + Sync)] {
    fn len(&self) -> usize {
        <[_]>::len(self)
    }

    fn get(&self, index: usize) -> &(dyn ToSql + Sync) {
        self[index]
    }
}

impl Params for Vec<Box<dyn ToSql + Sync + Send>> {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn get(&self, index: usize) -> &(dyn ToSql + Sync) {
        &*self[index]
    }
}

impl<const N: usize> Params for [&(dyn ToSql + Sync); N] {
    fn len(&self) -> usize {
        N
    }

    fn get(&self, index: usize) -> &(dyn ToSql + Sync) {
        self[index]
    }
}

impl<P: Params + ?Sized> Params for &P {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn get(&self, index: usize) -> &(dyn ToSql + Sync) {
        (**self).get(index)
    }

    fn names(&self) -> Option<&[&'static str]> {
        (**self).names()
    }
}

/// Values with names: what [`params!`](crate::params) makes.
#[derive(Clone, Copy)]
pub struct Named<P, const N: usize> {
    names: [&'static str; N],
    values: P,
}

impl<P: Params, const N: usize> Named<P, N> {
    #[doc(hidden)]
    pub fn new(names: [&'static str; N], values: P) -> Named<P, N> {
        Named { names, values }
    }
}

impl<P: Params, const N: usize> Params for Named<P, N> {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn get(&self, index: usize) -> &(dyn ToSql + Sync) {
        self.values.get(index)
    }

    fn names(&self) -> Option<&[&'static str]> {
        Some(&self.names)
    }
}

impl<P, const N: usize> std::fmt::Debug for Named<P, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values may be secrets.
        f.debug_struct("Named").field("names", &self.names).finish_non_exhaustive()
    }
}

/// The values of an ad-hoc query by name, for the parameters `:name` of its text.
///
/// ```
/// # fn look(db: &maypole::Database, city: &str) -> maypole::Result<i64> {
/// use maypole::params;
/// db.query(
///     "SELECT count(*) FROM customers WHERE city = :city AND age > :age",
///     params! { city, age: 21 },
/// )
/// .value()
/// # }
/// ```
///
/// Each name must occur in the text, and each `:name` in the text be among them. `$1` and `:name` do not mix.
#[macro_export]
macro_rules! params {
    () => { () };
    ($($name:ident $(: $value:expr)?),+ $(,)?) => {
        $crate::Named::new(
            [$($crate::__private::strip_raw(stringify!($name))),+],
            ($($crate::__param!($name $(: $value)?),)+),
        )
    };
}

/// A value with its name, or a variable of that name.
#[doc(hidden)]
#[macro_export]
macro_rules! __param {
    ($name:ident : $value:expr) => {
        $value
    };
    ($name:ident) => {
        $name
    };
}

/// The name in SQL of an identifier that may be raw: `r#type` is `:type`.
#[doc(hidden)]
pub fn strip_raw(name: &'static str) -> &'static str {
    name.strip_prefix("r#").unwrap_or(name)
}

macro_rules! tuple {
    ($count:literal: $($type:ident $index:tt),+) => {
        impl<$($type: ToSql + Sync),+> Params for ($($type,)+) {
            fn len(&self) -> usize {
                $count
            }

            fn get(&self, index: usize) -> &(dyn ToSql + Sync) {
                match index {
                    $($index => &self.$index,)+
                    _ => panic!("there is no parameter at {index}"),
                }
            }
        }
    };
}

tuple!(1: A 0);
tuple!(2: A 0, B 1);
tuple!(3: A 0, B 1, C 2);
tuple!(4: A 0, B 1, C 2, D 3);
tuple!(5: A 0, B 1, C 2, D 3, E 4);
tuple!(6: A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(7: A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(8: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
tuple!(9: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
tuple!(10: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
tuple!(11: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
tuple!(12: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);
tuple!(13: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12);
tuple!(14: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13);
tuple!(15: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14);
tuple!(16: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15);
tuple!(17: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15, Q 16);
tuple!(18: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15, Q 16, R 17);
tuple!(19: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15, Q 16, R 17, S 18);
tuple!(20: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15, Q 16, R 17, S 18, T 19);
tuple!(21: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15, Q 16, R 17, S 18, T 19, U 20);
tuple!(22: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15, Q 16, R 17, S 18, T 19, U 20, V 21);
tuple!(23: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15, Q 16, R 17, S 18, T 19, U 20, V 21, W 22);
tuple!(24: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15, Q 16, R 17, S 18, T 19, U 20, V 21, W 22, X 23);
tuple!(25: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15, Q 16, R 17, S 18, T 19, U 20, V 21, W 22, X 23, Y 24);
tuple!(26: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15, Q 16, R 17, S 18, T 19, U 20, V 21, W 22, X 23, Y 24, Z 25);
tuple!(27: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15, Q 16, R 17, S 18, T 19, U 20, V 21, W 22, X 23, Y 24, Z 25, AA 26);
tuple!(28: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15, Q 16, R 17, S 18, T 19, U 20, V 21, W 22, X 23, Y 24, Z 25, AA 26, BB 27);
tuple!(29: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15, Q 16, R 17, S 18, T 19, U 20, V 21, W 22, X 23, Y 24, Z 25, AA 26, BB 27, CC 28);
tuple!(30: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15, Q 16, R 17, S 18, T 19, U 20, V 21, W 22, X 23, Y 24, Z 25, AA 26, BB 27, CC 28, DD 29);
tuple!(31: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15, Q 16, R 17, S 18, T 19, U 20, V 21, W 22, X 23, Y 24, Z 25, AA 26, BB 27, CC 28, DD 29, EE 30);
tuple!(32: A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11, M 12, N 13, O 14, P 15, Q 16, R 17, S 18, T 19, U 20, V 21, W 22, X 23, Y 24, Z 25, AA 26, BB 27, CC 28, DD 29, EE 30, FF 31);
