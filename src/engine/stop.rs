//! What became of a run, for whoever stopped it.

/// What became of a run.
#[derive(Clone, Debug)]
pub struct StopReport {
    /// Items that were still on their way when the drain's time was up; none is the rule. Their bars are
    /// predicted at the next start, because the watermarks stand before them.
    pub undrained: usize,
    /// Outcomes that the store did not take.
    pub unsaved: u64,
    /// Why the source ended, where that was an error.
    pub source_error: Option<String>,
}

impl StopReport {
    /// What went wrong, for a program to end with: `None` where everything that was taken in came out.
    pub fn failure(&self) -> Option<String> {
        let Self { undrained, unsaved, source_error } = self;
        let again = "the next start predicts their bars again";
        source_error
            .clone()
            .or_else(|| {
                (*unsaved > 0)
                    .then(|| format!("{unsaved} outcomes were not stored (the log says why): {again}"))
            })
            .or_else(|| {
                (*undrained > 0).then(|| format!("{undrained} items were still on their way: {again}"))
            })
    }
}
