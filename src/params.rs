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
