//! The messages that travel from stage to stage, in flow order. Never changed after they are sent.

use super::{Bar, FeatureVector, Lane, Outcome, Prediction, Refusal, SeriesId, SeriesKey, Timestamp};
use std::sync::Arc;

/// Why a bar travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// It just closed: predict.
    #[default]
    Live,
    /// It closed while nobody watched: predict, after the live ones.
    CatchUp,
    /// It only warms the features up: its predictions are stored already, or not wanted.
    WarmUp,
    /// It was told and is not there: it is taken back, as if it had never come.
    Withdrawn,
    /// A caller asked about the newest bar.
    Asked,
    /// A caller asked about a bar that has not closed: answered, never stored.
    Provisional,
}

impl Origin {
    /// The lane in which an item of this origin travels, where its series' live bars travel in `live`.
    pub fn lane(self, live: Lane) -> Lane {
        match self {
            Self::Live | Self::Withdrawn => live,
            Self::CatchUp | Self::WarmUp => Lane::Low,
            Self::Asked | Self::Provisional => Lane::High,
        }
    }
}

/// Where an item stands in the order of this run; restores that order whatever the workers did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The bar's number in the order of arrival, over all series, from 1; 0 for what was never admitted.
    pub seq: u64,
    /// The bar's number within its series, from 1, without holes; 0 for what was never admitted.
    pub series_seq: u64,
    /// Which of the bar's outcomes this is, from 0.
    pub ordinal: u32,
    /// How many outcomes the bar has; one that changes older bars has those of every bar that is answered anew.
    pub of: u32,
}

/// Nanoseconds on the process's monotonic clock at which an item passed each point; 0 where it did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    /// Handed to the engine.
    pub arrived_ns: u64,
    /// Left the ingest stage.
    pub ingested_ns: u64,
    /// Left the feature stage.
    pub featured_ns: u64,
    /// Left the predict stage.
    pub predicted_ns: u64,
}

/// Called once with the outcome of what a caller asked for, on a persist worker: must not block.
pub type Reply = Arc<dyn Fn(&Outcome) + Send + Sync>;

/// A question about a series' newest bar, or about one that has not closed yet.
#[derive(Clone)]
pub struct Ask {
    /// Which horizon; every one the series has models for when `None`.
    pub horizon: Option<u32>,
    /// The bar so far, where the question is what would be predicted if it closed like this. It changes nothing.
    pub provisional: Option<Bar>,
    /// Where the answer goes.
    pub reply: Reply,
}

impl Ask {
    /// Why its answer travels.
    pub fn origin(&self) -> Origin {
        if self.provisional.is_some() { Origin::Provisional } else { Origin::Asked }
    }
}

/// What enters the ingest stage.
#[derive(Clone)]
pub enum Incoming {
    /// A bar, as its source gave it.
    Bar {
        /// What it holds.
        bar: Bar,
        /// Why it travels.
        origin: Origin,
        /// Its number in the order of arrival.
        seq: u64,
        /// When it was handed in.
        stamps: Stamps,
    },
    /// A caller's question; travels behind the bars of its series, so that it sees them.
    Ask {
        /// What is asked.
        ask: Ask,
        /// When it was handed in.
        stamps: Stamps,
    },
}

/// How an admitted bar stands to those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admission {
    /// It is the newest of its series.
    #[default]
    Next,
    /// It replaces one of the newest bars, which had other content.
    Revision,
    /// It belongs between bars that were there before it.
    Late,
    /// It was there, and is taken back.
    Withdrawn,
}

/// What ingest lets through to the feature stage.
#[derive(Clone)]
pub enum Admitted {
    /// A bar that is in order.
    Bar {
        /// What it holds.
        bar: Bar,
        /// How it stands to the bars before it.
        admission: Admission,
        /// Why it travels.
        origin: Origin,
        /// Where it stands.
        place: Place,
        /// When it passed.
        stamps: Stamps,
    },
    /// A caller's question.
    Ask {
        /// What is asked.
        ask: Ask,
        /// When it passed.
        stamps: Stamps,
    },
}

impl Admitted {
    /// Why it travels.
    pub fn origin(&self) -> Origin {
        match self {
            Self::Bar { origin, .. } => *origin,
            Self::Ask { ask, .. } => ask.origin(),
        }
    }
}

/// What the feature stage asks of the predict stage: one row for one model.
#[derive(Clone)]
pub struct Task {
    /// Which series.
    pub series: Arc<SeriesKey>,
    /// Its dense number.
    pub series_id: SeriesId,
    /// The model's dense number.
    pub model: u32,
    /// How many bars ahead.
    pub horizon: u32,
    /// The bar's open time.
    pub ts: Timestamp,
    /// The bar's close.
    pub close: f64,
    /// How often the bar has been answered anew.
    pub revision: u32,
    /// The inputs; all defined where there are no others.
    pub vector: Arc<FeatureVector>,
    /// The inputs of versions that read something else; of all vectors at least one is defined.
    pub others: Box<[Arc<FeatureVector>]>,
    /// Where it stands.
    pub place: Place,
    /// Why it travels.
    pub origin: Origin,
    /// When it passed.
    pub stamps: Stamps,
    /// Who waits for it.
    pub reply: Option<Reply>,
}

impl Task {
    /// What came of it, `predicted_ns` on the clock of [`Stamps`].
    pub fn outcome(&self, predicted_ns: u64, result: Result<Prediction, Refusal>) -> Outcome {
        Outcome {
            series: Arc::clone(&self.series),
            horizon: self.horizon,
            ts: self.ts,
            close: self.close,
            revision: self.revision,
            place: self.place,
            origin: self.origin,
            stamps: Stamps { predicted_ns, ..self.stamps },
            result,
            reply: self.reply.clone(),
        }
    }
}
