//! A state as it passes into the process that replaces this one: plain data, to the bit.

use super::{Kernel, Plan, PlanState};
use crate::feature::frame::Frame;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::mem::discriminant;
use std::sync::Arc;

/// All of a [`PlanState`] but its plan.
#[derive(Serialize, Deserialize)]
pub(in crate::feature) struct SavedState<'s> {
    kernels: Cow<'s, [Kernel]>,
    memory: Cow<'s, [f64]>,
    values: Cow<'s, [f64]>,
    frames: Cow<'s, [Frame]>,
    close: f64,
}

impl PlanState {
    pub(in crate::feature) fn save(&self) -> SavedState<'_> {
        let Self { kernels, memory, values, frames, close, shared: _ } = self;
        SavedState {
            kernels: Cow::Borrowed(kernels),
            memory: Cow::Borrowed(memory),
            values: Cow::Borrowed(values),
            frames: Cow::Borrowed(frames),
            close: *close,
        }
    }
}

impl Plan {
    /// The state that was saved under a plan of the same names over the same grid; `None` where it cannot be of one.
    pub(in crate::feature) fn restore(&self, saved: SavedState<'_>) -> Option<PlanState> {
        let SavedState { kernels, memory, values, frames, close } = saved;
        let shared = &self.shared;
        let same = kernels.iter().map(discriminant).eq(shared.kernels.iter().map(discriminant))
            && (memory.len(), values.len()) == (shared.memory, self.len())
            && frames.iter().map(Frame::timeframe).eq(shared.frames.iter().map(|(timeframe, _)| *timeframe));
        same.then(|| PlanState {
            kernels: kernels.into_owned().into(),
            memory: memory.into_owned().into(),
            values: values.into_owned().into(),
            frames: frames.into_owned().into(),
            close,
            shared: Arc::clone(shared),
        })
    }
}
