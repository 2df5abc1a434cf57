//! Finds, among many numbered patterns, the lowest number that matches a request without looking at each: a trie over path
//! segments, and inside one pattern a map over the value of a header field. Yields every candidate pattern, not only the best
//! one, because a pattern that fits may still fail on a method or header; that is why it is not a router library.

use std::collections::HashMap;

use http::HeaderName;

use super::compile::pace::Pace;
use super::condition::Members;
use super::path::{Below, Pattern, Segment};
use crate::fields::{Fields, members};

/// Most numbers with the same pattern that are looked at one by one. Beyond it the policy is refused: a decision would take too
/// long.
pub(crate) const ALIKE_MAX: usize = 128;
/// Most header fields that are looked up under one pattern.
const HEADER_NAMES_MAX: usize = 8;

/// A node of the trie.
#[derive(Debug, Default)]
struct Branch {
    literals: HashMap<Box<str>, u32>,
    any: Option<u32>,
    here: Bucket,
    below: Bucket,
}

/// Numbers in ascending order, by the value that they ask for.
type ByValue = HashMap<Box<[u8]>, Vec<u32>>;

/// What stands at one pattern.
#[derive(Debug, Default)]
struct Bucket {
    /// Numbers in ascending order, looked at one by one.
    plain: Vec<u32>,
    /// Numbers that ask for a value of a header field.
    by_header: Vec<(HeaderName, ByValue)>,
    /// A number that asks for nothing else stands here: no later one can be the lowest.
    closed: bool,
}

/// What a number asks beside its pattern.
pub(crate) enum Asks<'c> {
    /// Nothing.
    Nothing,
    /// This value of this header field, and perhaps more.
    Header(&'c HeaderName, &'c str),
    /// Something that has to be looked at.
    Other,
}

/// Numbers by pattern.
#[derive(Debug)]
pub(crate) struct Index {
    branches: Vec<Branch>,
}

impl Default for Index {
    fn default() -> Self {
        Self { branches: vec![Branch::default()] }
    }
}

/// Too many numbers under one pattern.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Crowded;

impl Index {
    /// Adds a number; numbers come in ascending order.
    pub(crate) fn insert(&mut self, pattern: &Pattern, number: u32, asks: &Asks<'_>) -> Result<(), Crowded> {
        let mut at = 0;
        for segment in pattern.segments() {
            at = self.child(at, segment);
        }
        let branch = &mut self.branches[at];
        match pattern.below() {
            Below::Nothing => branch.here.insert(number, asks),
            Below::Everything => branch.below.insert(number, asks),
        }
    }

    /// Frees it in pieces: of ten thousand patterns in one takes milliseconds.
    pub(crate) fn free(self, pace: &mut Pace<'_>) {
        for branch in self.branches {
            drop(branch);
            pace.step();
        }
    }

    fn child(&mut self, at: usize, segment: &Segment) -> usize {
        let next = u32::try_from(self.branches.len()).unwrap_or(u32::MAX);
        let branch = &mut self.branches[at];
        let child = match segment {
            Segment::Any => *branch.any.get_or_insert(next),
            Segment::Literal(text) => *branch.literals.entry(text.clone()).or_insert(next),
        };
        if child == next {
            self.branches.push(Branch::default());
        }
        usize::try_from(child).unwrap_or_default()
    }

    /// Lowers `query.best` to the lowest number below it whose pattern matches the path and that is accepted.
    pub(crate) fn search(&self, path: &str, query: &mut Query<'_>) {
        self.walk(0, path.strip_prefix('/'), query);
    }

    /// `rest` is what follows the next slash; none at the path's end. No branch is entered twice, and the recursion is as deep as the
    /// longest pattern.
    fn walk(&self, at: u32, rest: Option<&str>, query: &mut Query<'_>) {
        let Some(branch) = usize::try_from(at).ok().and_then(|at| self.branches.get(at)) else { return };
        branch.below.search(query);
        let Some(rest) = rest else {
            branch.here.search(query);
            return;
        };
        let (segment, rest) = rest.split_once('/').map_or((rest, None), |(segment, rest)| (segment, Some(rest)));
        if let Some(child) = branch.literals.get(segment) {
            self.walk(*child, rest, query);
        }
        if let Some(child) = branch.any.filter(|_| !segment.is_empty()) {
            self.walk(child, rest, query);
        }
    }
}

/// A search: the request's fields, what is looked at for each candidate, and the best so far.
pub(crate) struct Query<'q> {
    /// The request's fields.
    pub(crate) headers: &'q Fields,
    /// Whether the number's other conditions hold.
    pub(crate) accepts: &'q dyn Fn(u32) -> bool,
    /// The lowest number so far; `u32::MAX` for none.
    pub(crate) best: u32,
}

impl Query<'_> {
    fn offer(&mut self, numbers: &[u32]) {
        for &number in numbers {
            if number >= self.best {
                return;
            }
            if (self.accepts)(number) {
                self.best = number;
                return;
            }
        }
    }

    /// Offers what asks for a line of a field as a whole, or for a member of it: which of them counts is a matter of the condition.
    fn offer_for(&mut self, line: &[u8], values: &ByValue) {
        values.get(line).into_iter().for_each(|numbers| self.offer(numbers));
        match Members::of(line) {
            Members::Itself => {}
            Members::Few => members(line).filter_map(|member| values.get(member)).for_each(|found| self.offer(found)),
            Members::Many => values.values().for_each(|numbers| self.offer(numbers)),
        }
    }
}

impl Bucket {
    fn insert(&mut self, number: u32, asks: &Asks<'_>) -> Result<(), Crowded> {
        if self.closed {
            return Ok(());
        }
        match asks {
            Asks::Nothing => self.closed = true,
            Asks::Other => {}
            Asks::Header(name, value) => {
                let known = self.by_header.iter().position(|(known, _)| known == *name);
                let at = known.or_else(|| {
                    let has_room = self.by_header.len() < HEADER_NAMES_MAX;
                    has_room.then(|| self.by_header.push(((*name).clone(), HashMap::new())));
                    has_room.then(|| self.by_header.len() - 1)
                });
                if let Some(at) = at {
                    let numbers = self.by_header[at].1.entry(value.as_bytes().into()).or_default();
                    return push(numbers, number);
                }
            }
        }
        push(&mut self.plain, number)
    }

    fn search(&self, query: &mut Query<'_>) {
        query.offer(&self.plain);
        for (name, values) in &self.by_header {
            query.headers.all(name.as_str()).for_each(|line| query.offer_for(line, values));
        }
    }
}

fn push(numbers: &mut Vec<u32>, number: u32) -> Result<(), Crowded> {
    if numbers.len() == ALIKE_MAX {
        return Err(Crowded);
    }
    numbers.push(number);
    Ok(())
}
