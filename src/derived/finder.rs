//! Looks for the columns of a derived struct and of all that is flattened into it. Uses: columns, error, outline.

use smallvec::{SmallVec, smallvec};

use super::{Field, Flatten, MISSING, Plan};
use maypole_sql::closest;

use crate::columns::{Column, Columns, short_name};
use crate::error::Error;
use crate::outline::Place;

/// Looks for columns, field by field. It allocates nothing unless the places are to be written down, or something does
/// not fit.
pub struct Finder<'a> {
    columns: &'a Columns,
    /// The name of the outermost struct.
    root: &'static str,
    /// Where we are: from the outermost flattened field to the innermost.
    scopes: SmallVec<[Scope; 4]>,
    /// How many of them are optional.
    optional: usize,
    taken: Positions,
    ignored: Positions,
    /// The columns found so far.
    plan: Plan,
    wrong: bool,
    /// The places so far, if they are to be written down.
    places: Option<Vec<Place>>,
}

/// A flattened field.
#[derive(Clone, Copy)]
struct Scope {
    field: &'static str,
    prefix: &'static str,
}

/// What keeps a column from a field.
enum Problem {
    Missing,
    Several,
    Taken,
    Type(Error),
}

impl<'a> Finder<'a> {
    pub(super) fn new<T: Flatten>(columns: &'a Columns, places: Option<Vec<Place>>) -> Finder<'a> {
        let mut finder = Finder {
            columns,
            root: T::NAME,
            scopes: SmallVec::new(),
            optional: 0,
            taken: Positions::new(columns.len()),
            ignored: Positions::new(columns.len()),
            plan: Plan(SmallVec::new()),
            wrong: false,
            places,
        };
        finder.ignore_if(T::LAX);
        finder
    }

    /// Looks for a field's column.
    pub fn column(&mut self, field: &Field) {
        let (position, problem) = self.look_for(field);
        if let Some(places) = &self.places {
            let place = self.place(field, position, problem.as_ref(), places);
            self.places.get_or_insert_default().push(place);
        }
        self.wrong |= problem.is_some();
        if let Some(position) = position {
            self.taken.insert(position);
        }
        if matches!(problem, Some(Problem::Several)) {
            let all = (0..self.columns.len()).filter(|at| self.is_called(*at, field.column));
            all.collect::<Vec<_>>().into_iter().for_each(|at| self.taken.insert(at));
        }
        self.plan.0.push(position.and_then(|position| u16::try_from(position).ok()).unwrap_or(MISSING));
    }

    /// Looks for the columns of a flattened struct, which begin with this prefix.
    pub fn nested<T: Flatten>(&mut self, field: &'static str, prefix: &'static str) {
        self.scopes.push(Scope { field, prefix });
        self.ignore_if(T::LAX);
        T::find(self);
        self.scopes.pop();
    }

    /// Looks for the columns of a struct that is not there if all of them are NULL.
    pub(super) fn optional<T: Flatten>(&mut self) {
        self.optional += 1;
        T::find(self);
        self.optional -= 1;
    }

    /// Whether every field has its column and every column its field.
    pub(super) fn fits(&self) -> bool {
        !self.wrong && self.unwanted().next().is_none()
    }

    /// What was found, if it fits.
    pub(super) fn plan(self) -> Plan {
        self.plan
    }

    /// The places that were written down.
    pub(super) fn outline(mut self) -> Vec<Place> {
        let mut places = self.places.take().unwrap_or_default();
        for place in &mut places {
            // Only now is it known which columns are free.
            if place.column.is_none() && place.problem.is_some() {
                place.problem = Some(self.missing(place));
            }
        }
        let nobodys =
            (0..self.columns.len()).filter(|at| self.ignored.contains(*at) && !self.taken.contains(*at));
        places.extend(nobodys.map(|position| Place::any(self.columns, position, self.root)));
        places
    }

    /// The error that tells all that does not fit.
    pub(super) fn refusal(self) -> Error {
        let (root, columns) = (self.root, self.columns);
        let unwanted: Vec<usize> = self.unwanted().collect();
        let places = self.outline();
        let mut problems = Vec::new();
        for place in &places {
            let Some(problem) = &place.problem else { continue };
            let field = place.field.strip_prefix(root).map_or(&*place.field, |field| &field[1..]);
            problems.push(match place.column {
                Some(_) => format!("field `{field}`: {problem}"),
                None => format!("field `{field}` ({}) {problem}", place.rust),
            });
        }
        let lonely = places.iter().filter(|place| place.column.is_none() && place.problem.is_some());
        let lonely: Vec<&str> = lonely.map(|place| &*place.name).collect();
        for column in unwanted.into_iter().filter_map(|position| columns.get(position)) {
            problems.push(has_no_field(column, &lonely));
        }
        Error::shape(format!("the columns do not fit {root}: {}", problems.join("; ")))
    }

    /// The position of the field's column, if any, and what is wrong with it.
    fn look_for(&self, field: &Field) -> (Option<usize>, Option<Problem>) {
        let mut found = (0..self.columns.len()).filter(|at| self.is_called(*at, field.column));
        let Some(position) = found.next() else {
            return (None, (!field.default).then_some(Problem::Missing));
        };
        let problem = if found.next().is_some() {
            Some(Problem::Several)
        } else if self.taken.contains(position) {
            Some(Problem::Taken)
        } else {
            let checked = self.columns.get(position).map_or(Ok(()), field.check);
            checked.err().map(Problem::Type)
        };
        (Some(position), problem)
    }

    /// Whether the column's name is this one behind all prefixes.
    fn is_called(&self, position: usize, name: &str) -> bool {
        self.columns.get(position).is_some_and(|column| {
            // Most columns are ruled out by their ends alone.
            column.name().ends_with(name) && self.behind_prefixes(column) == Some(name)
        })
    }

    fn behind_prefixes<'n>(&self, column: &'n Column) -> Option<&'n str> {
        self.scopes.iter().try_fold(column.name(), |name, scope| name.strip_prefix(scope.prefix))
    }

    /// What a lax struct has no field for is ignored, as far as its prefix reaches.
    fn ignore_if(&mut self, lax: bool) {
        for (position, column) in self.columns.iter().enumerate().filter(|_| lax) {
            if self.behind_prefixes(column).is_some() {
                self.ignored.insert(position);
            }
        }
    }

    /// The positions of the columns that no field takes.
    fn unwanted(&self) -> impl Iterator<Item = usize> {
        (0..self.columns.len()).filter(|at| !self.taken.contains(*at) && !self.ignored.contains(*at))
    }

    fn place(
        &self,
        field: &Field,
        position: Option<usize>,
        problem: Option<&Problem>,
        others: &[Place],
    ) -> Place {
        let name: String = self.scopes.iter().map(|scope| scope.prefix).chain([field.column]).collect();
        let scopes = self.scopes.iter().map(|scope| scope.field);
        let path: Vec<&str> = [self.root].into_iter().chain(scopes).chain([field.name]).collect();
        let column = position.and_then(|position| self.columns.get(position));
        let problem = problem.map(|problem| match problem {
            // What it may be called instead is known when all fields have theirs.
            Problem::Missing => String::new(),
            Problem::Several => {
                let same = (0..self.columns.len()).filter(|at| self.is_called(*at, field.column)).count();
                format!(
                    "the result has {same} columns of the name \"{name}\": give each its own with AS, or select only \
                     one of them"
                )
            }
            Problem::Taken => {
                let first = others.iter().find(|other| other.column == position);
                let first = first.map_or("another field", |first| &first.field);
                format!(
                    "column \"{name}\" goes into {first} already: give one of them a column of its own, with \
                     rename, or with flatten = \"prefix_\" where it is in a flattened struct"
                )
            }
            Problem::Type(error) => error.to_string(),
        });
        Place {
            column: position,
            name,
            field: path.join("."),
            rust: short_name((field.rust)()),
            problem,
            nullable: self.optional > 0 || column.is_none_or(field.takes_null),
        }
    }

    /// What to say of a field without a column.
    fn missing(&self, place: &Place) -> String {
        let name = &*place.name;
        let same = place.field.rsplit_once('.').is_some_and(|(_, field)| field == name);
        let called = if same { String::new() } else { format!(" \"{name}\"") };
        let free = self.columns.iter().enumerate().filter(|(at, _)| !self.taken.contains(*at));
        match closest(name, free.map(|(_, column)| column.name())) {
            Some(close) => format!("has no column{called}, did you mean \"{close}\"?"),
            None => format!("has no column{called}, {}", self.columns.summary()),
        }
    }
}

/// What to say of a column without a field; `lonely` are the columns that fields are missing.
fn has_no_field(column: &Column, lonely: &[&str]) -> String {
    let (name, type_) = (column.name(), column.type_());
    match closest(name, lonely.iter().copied()) {
        Some(close) => format!("column \"{name}\" ({type_}) has no field, did you mean \"{close}\"?"),
        None => {
            format!("column \"{name}\" ({type_}) has no field: add one, or leave the column out of the query")
        }
    }
}

/// A set of positions of columns. A table has at most 1,600 columns (PostgreSQL manual, "PostgreSQL Limits"), a result
/// 1,664: so many need no allocation.
struct Positions(SmallVec<[u64; 26]>);

impl Positions {
    fn new(columns: usize) -> Positions {
        Positions(smallvec![0; columns.div_ceil(64)])
    }

    fn insert(&mut self, position: usize) {
        if let Some(word) = self.0.get_mut(position / 64) {
            *word |= 1 << (position % 64);
        }
    }

    fn contains(&self, position: usize) -> bool {
        self.0.get(position / 64).is_some_and(|word| word & (1 << (position % 64)) != 0)
    }
}
