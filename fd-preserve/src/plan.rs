//! Which steps turn (source, number in the child) pairs into the child's descriptor table.
//!
//! This makes no system call: the steps are values, so that they can be tested against a model.
//!
//! Why sources are parked in the parent, instead of breaking cycles in the child: a plan may run
//! more than once in the same descriptor table, for example in a process that tries another program
//! after an exec failed. If a step overwrote a source, the second run would be a different plan: a
//! swap would swap back. So no step overwrites a source. A source that is on another's number is
//! duplicated beforehand to a number that nobody wants. Then the order of the other steps does not
//! matter, and the child never has to find a free number, which it may not have.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::RawFd;

use crate::Error;

/// The steps that give a child the descriptors it should have. Pure: it makes no system call.
///
/// ```
/// use fd_preserve::{FdPlan, Origin, Step};
///
/// // 3 and 4 swap places, and 7 stays.
/// let plan = FdPlan::resolve([(3, 4), (4, 3), (7, 7)])?;
/// let steps: Vec<Step> = plan.steps().collect();
/// assert_eq!(
///     steps,
///     [
///         Step::Park { source: 3 },
///         Step::Park { source: 4 },
///         Step::Keep { fd: 7 },
///         Step::Duplicate { from: Origin::Parked(4), target: 3 },
///         Step::Duplicate { from: Origin::Parked(3), target: 4 },
///     ]
/// );
/// # Ok::<(), fd_preserve::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdPlan {
    /// Maps each target to its source. A target has one source.
    sources: BTreeMap<RawFd, RawFd>,
    /// Sources that are on a target of another source.
    parked: BTreeSet<RawFd>,
}

/// One step of an [`FdPlan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// In the parent: duplicate `source`, close-on-exec, to any number that is no target, and
    /// remember that number. `source` itself stays where it is.
    Park {
        /// The descriptor that is on another source's target.
        source: RawFd,
    },
    /// In the child: clear `FD_CLOEXEC`; the descriptor already has its number.
    Keep {
        /// Source and target.
        fd: RawFd,
    },
    /// In the child: duplicate `from` onto `target`, not close-on-exec.
    Duplicate {
        /// The source.
        from: Origin,
        /// The number in the child.
        target: RawFd,
    },
}

/// Where a [`Step::Duplicate`] takes its source from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The source itself.
    Fd(RawFd),
    /// The parked copy of this source.
    Parked(RawFd),
}

impl FdPlan {
    /// Resolves `(source, number in the child)` pairs, given in any order. A source may have
    /// several numbers, and may be on a number that is another source's target.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateTarget`], [`Error::NegativeTarget`] and [`Error::NegativeSource`].
    pub fn resolve(pairs: impl IntoIterator<Item = (RawFd, RawFd)>) -> Result<FdPlan, Error> {
        let mut sources = BTreeMap::new();
        for (source, target) in pairs {
            if target < 0 {
                return Err(Error::NegativeTarget { target });
            }
            if source < 0 {
                return Err(Error::NegativeSource { source });
            }
            if sources.insert(target, source).is_some() {
                return Err(Error::DuplicateTarget { target });
            }
        }
        // A source that keeps its number is not in anybody's way.
        let parked = sources
            .values()
            .copied()
            .filter(|source| sources.get(source).is_some_and(|other| other != source))
            .collect();
        Ok(FdPlan { sources, parked })
    }

    /// The steps, in order: first all steps of the parent, then all steps of the child.
    ///
    /// The child's steps may run any number of times, in any order.
    pub fn steps(&self) -> impl Iterator<Item = Step> {
        let parks = self.parked.iter().map(|&source| Step::Park { source });
        let keeps = self.keeps().map(|fd| Step::Keep { fd });
        let duplicates = self.duplicates().map(|(source, target)| Step::Duplicate {
            from: self.origin(source),
            target,
        });
        parks.chain(keeps).chain(duplicates)
    }

    /// The numbers that the plan gives in the child, in ascending order.
    pub fn targets(&self) -> impl Iterator<Item = RawFd> {
        self.sources.keys().copied()
    }

    /// Whether the plan gives `fd` in the child.
    #[must_use]
    pub fn is_target(&self, fd: RawFd) -> bool {
        self.sources.contains_key(&fd)
    }

    /// Whether the plan gives `fd` in the child, from the same number.
    pub(crate) fn is_kept(&self, fd: RawFd) -> bool {
        self.sources.get(&fd) == Some(&fd)
    }

    /// Whether `source` must be parked, because it is on another source's target.
    pub(crate) fn is_parked(&self, source: RawFd) -> bool {
        self.parked.contains(&source)
    }

    fn keeps(&self) -> impl Iterator<Item = RawFd> {
        self.targets().filter(|&target| self.is_kept(target))
    }

    /// (source, target) of each descriptor that does not keep its number.
    fn duplicates(&self) -> impl Iterator<Item = (RawFd, RawFd)> {
        self.sources
            .iter()
            .map(|(&target, &source)| (source, target))
            .filter(|(source, target)| source != target)
    }

    fn origin(&self, source: RawFd) -> Origin {
        if self.is_parked(source) {
            Origin::Parked(source)
        } else {
            Origin::Fd(source)
        }
    }
}
