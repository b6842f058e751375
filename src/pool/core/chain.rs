//! A doubly linked list over positions of a table. Uses: nothing.

/// The order of some of a table's entries, by their positions: an entry is put in or taken out anywhere in
/// constant time, and nothing is allocated that was not needed before.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    /// By position; only the links of positions that are in the chain mean anything.
    links: Vec<Link>,
    first: Option<usize>,
    last: Option<usize>,
    length: usize,
    /// How many links were changed or followed, so that tests can bound work instead of time.
    #[cfg(test)]
    pub(super) steps: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    before: Option<usize>,
    after: Option<usize>,
}

impl Chain {
    /// How many are in the chain.
    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// The first of them.
    pub(super) fn first(&self) -> Option<usize> {
        self.first
    }

    /// The last of them.
    pub(super) fn last(&self) -> Option<usize> {
        self.last
    }

    /// What follows `position`, which must be in the chain.
    pub(super) fn after(&self, position: usize) -> Option<usize> {
        self.links[position].after
    }

    /// Puts in `position`, which must not be in the chain, as the first.
    pub(super) fn push_first(&mut self, position: usize) {
        self.insert(position, None, self.first);
    }

    /// Puts in `position`, which must not be in the chain, as the last.
    pub(super) fn push_last(&mut self, position: usize) {
        self.insert(position, self.last, None);
    }

    /// Puts `position`, which must not be in the chain, in front of `after`, which must; `None` is the end.
    pub(super) fn insert_before(&mut self, after: Option<usize>, position: usize) {
        let before = match after {
            Some(after) => self.links[after].before,
            None => self.last,
        };
        self.insert(position, before, after);
    }

    /// Takes out `position`, which must be in the chain.
    pub(super) fn remove(&mut self, position: usize) {
        let Link { before, after } = self.links[position];
        self.join(before, after);
        self.length -= 1;
    }

    fn insert(&mut self, position: usize, before: Option<usize>, after: Option<usize>) {
        if position >= self.links.len() {
            self.links.resize(position + 1, Link::default());
        }
        self.join(before, Some(position));
        self.join(Some(position), after);
        self.length += 1;
    }

    /// Makes the two neighbours; `None` is the outside.
    fn join(&mut self, before: Option<usize>, after: Option<usize>) {
        #[cfg(test)]
        {
            self.steps += 1;
        }
        match before {
            Some(before) => self.links[before].after = after,
            None => self.first = after,
        }
        match after {
            Some(after) => self.links[after].before = before,
            None => self.last = before,
        }
    }

    /// The positions from first to last.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(self.first, |position| self.after(*position))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_and_go_at_both_ends_and_in_the_middle() {
        let mut chain = Chain::default();
        chain.push_last(4);
        chain.push_last(2);
        chain.push_first(7);
        chain.insert_before(Some(2), 0);
        chain.insert_before(None, 1);
        assert_eq!(chain.iter().collect::<Vec<_>>(), [7, 4, 0, 2, 1]);
        for gone in [4, 7, 1] {
            chain.remove(gone);
        }
        assert_eq!(chain.iter().collect::<Vec<_>>(), [0, 2]);
        assert_eq!((chain.len(), chain.last), (2, Some(2)));
        chain.remove(2);
        chain.remove(0);
        assert_eq!((chain.len(), chain.first(), chain.last), (0, None, None));
    }
}
