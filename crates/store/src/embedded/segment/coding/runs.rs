//! Which values of a column are asked for.

use std::ops::Range;

use super::bytes::Damaged;

/// Places of a column as runs, sorted and apart from each other: what is not asked for is passed over, not decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::embedded::segment) struct Runs {
    runs: Vec<Range<usize>>,
    places: usize,
}

impl Runs {
    /// Every place of a column of so many values.
    pub(in crate::embedded::segment) fn all(count: usize) -> Self {
        let mut runs = Self::default();
        runs.push(0..count);
        runs
    }

    /// Places that are sorted.
    pub(in crate::embedded::segment) fn of_places(places: &[usize]) -> Self {
        let mut runs = Self::default();
        places.iter().for_each(|place| runs.push(*place..*place + 1));
        runs
    }

    /// Adds a run behind the others.
    #[inline]
    pub(in crate::embedded::segment) fn push(&mut self, run: Range<usize>) {
        if run.is_empty() {
            return;
        }
        self.places += run.len();
        match self.runs.last_mut() {
            Some(last) if last.end == run.start => last.end = run.end,
            _ => self.runs.push(run),
        }
    }

    /// How many places there are.
    pub(in crate::embedded::segment) fn len(&self) -> usize {
        self.places
    }

    pub(in crate::embedded::segment) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Behind the last place.
    pub(in crate::embedded::segment) fn end(&self) -> usize {
        self.runs.last().map_or(0, |run| run.end)
    }

    pub(in crate::embedded::segment) fn iter(&self) -> impl Iterator<Item = Range<usize>> {
        self.runs.iter().cloned()
    }

    pub(in crate::embedded::segment) fn places(&self) -> impl Iterator<Item = usize> {
        self.iter().flatten()
    }

    /// Where these places lie among others, to which they all belong.
    pub(in crate::embedded::segment) fn within(&self, others: &Self) -> Self {
        let mut inner = Self::default();
        let mut others = others.iter();
        let (mut held, mut passed) = (0..0, 0);
        for run in &self.runs {
            while held.end < run.end {
                passed += held.len();
                let Some(next) = others.next() else { return inner };
                held = next;
            }
            let start = passed + run.start - held.start;
            inner.push(start..start + run.len());
        }
        inner
    }

    /// Whether a column of so many values has them all.
    pub(in crate::embedded::segment) fn check(&self, count: usize) -> Result<(), Damaged> {
        if self.end() <= count { Ok(()) } else { Err(Damaged("a value is missing")) }
    }

    /// The values at these places of a column that was decoded whole.
    pub(in crate::embedded::segment) fn pick<T: Copy>(&self, all: &[T]) -> Result<Vec<T>, Damaged> {
        self.check(all.len())?;
        let mut picked = Vec::with_capacity(self.places);
        self.runs.iter().for_each(|run| picked.extend_from_slice(&all[run.clone()]));
        Ok(picked)
    }
}
