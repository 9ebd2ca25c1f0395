//! The flat memory of a plan's windows, and the two ways to it: a commit writes what a peek only reads.

use std::hint::cold_path;
use std::mem::replace;

/// Counts the memory that the kernels of one plan need: one flat allocation holds all of it.
#[derive(Debug, Default)]
pub struct Layout {
    len: usize,
}

impl Layout {
    /// Sets `len` numbers aside; gives the index of the first.
    pub fn reserve(&mut self, len: usize) -> usize {
        let at = self.len;
        self.len += len;
        at
    }

    /// How many numbers have been set aside.
    pub fn len(&self) -> usize {
        self.len
    }
}

/// The memory as a kernel meets it. A kernel reads nothing back that it has kept in the same step: so that it
/// need not know whether anything was.
pub trait Memory {
    /// What there is to read.
    fn held(&self) -> &[f64];

    /// Where to write; `None` when nothing is to be kept.
    fn kept(&mut self) -> Option<&mut [f64]>;

    /// What stands from `at` on, where `item` is kept from now on; `None` beyond the end.
    fn exchange<const W: usize>(&mut self, at: usize, item: &[f64; W]) -> Option<[f64; W]>;
}

/// Keeps what a step writes.
pub struct Commit<'m>(pub &'m mut [f64]);

/// Keeps nothing.
pub struct Peek<'m>(pub &'m [f64]);

impl Memory for Commit<'_> {
    #[inline(always)]
    fn held(&self) -> &[f64] {
        self.0
    }

    #[inline(always)]
    fn kept(&mut self) -> Option<&mut [f64]> {
        Some(self.0)
    }

    #[inline(always)]
    fn exchange<const W: usize>(&mut self, at: usize, item: &[f64; W]) -> Option<[f64; W]> {
        let slot = self.0.get_mut(at..).and_then(<[f64]>::first_chunk_mut);
        if slot.is_none() {
            cold_path();
        }
        slot.map(|slot| replace(slot, *item))
    }
}

impl Memory for Peek<'_> {
    #[inline(always)]
    fn held(&self) -> &[f64] {
        self.0
    }

    #[inline(always)]
    fn kept(&mut self) -> Option<&mut [f64]> {
        None
    }

    #[inline(always)]
    fn exchange<const W: usize>(&mut self, at: usize, _: &[f64; W]) -> Option<[f64; W]> {
        self.0.get(at..)?.first_chunk().copied()
    }
}
