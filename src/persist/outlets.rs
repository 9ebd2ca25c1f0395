//! Subscribers: who is told of every outcome once it is stored.

use crate::domain::Outcome;
use arc_swap::ArcSwap;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

type Callback = Box<dyn Fn(&[Outcome]) + Send + Sync>;

enum Outlet {
    Channel { sender: Sender<Outcome>, missed: Arc<AtomicU64> },
    Callback(Callback),
}

/// A subscriber's end: outcomes in the order in which they were stored.
#[derive(Clone, Debug)]
pub struct Subscription {
    receiver: Receiver<Outcome>,
    missed: Arc<AtomicU64>,
}

impl Subscription {
    /// The channel to receive from; it ends when the engine has stopped.
    pub fn receiver(&self) -> &Receiver<Outcome> {
        &self.receiver
    }

    /// How many outcomes found the channel full and were not delivered: a slow subscriber slows nobody.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

/// The list of subscribers; reading it takes no lock.
#[derive(Default)]
pub struct Outlets {
    list: ArcSwap<Vec<Arc<Outlet>>>,
}

impl Outlets {
    fn add(&self, outlet: Outlet) {
        let outlet = Arc::new(outlet);
        self.list.rcu(|list| {
            let mut longer = Vec::clone(list);
            longer.push(Arc::clone(&outlet));
            longer
        });
    }

    /// Subscribes with a channel of `capacity` outcomes.
    pub fn subscribe(&self, capacity: usize) -> Subscription {
        let (sender, receiver) = bounded(capacity.max(1));
        let missed = Arc::new(AtomicU64::new(0));
        self.add(Outlet::Channel { sender, missed: Arc::clone(&missed) });
        Subscription { receiver, missed }
    }

    /// Subscribes with a callback, called on the persist worker with what was stored together: it must return soon and not
    /// block.
    pub fn subscribe_with(&self, callback: Callback) {
        self.add(Outlet::Callback(callback));
    }

    /// Tells everybody; forgets subscribers that went away.
    pub(super) fn publish(&self, outcomes: &[Outcome]) {
        let list = self.list.load();
        let mut gone: Vec<*const Outlet> = Vec::new();
        for outlet in list.iter() {
            match &**outlet {
                Outlet::Channel { sender, missed } => {
                    for outcome in outcomes {
                        match sender.try_send(outcome.clone()) {
                            Ok(()) => {}
                            Err(TrySendError::Full(_)) => {
                                missed.fetch_add(1, Ordering::Relaxed);
                            }
                            Err(TrySendError::Disconnected(_)) => {
                                gone.push(Arc::as_ptr(outlet));
                                break;
                            }
                        }
                    }
                }
                Outlet::Callback(callback) => {
                    // Whatever a subscriber does, the outcomes are stored and counted once.
                    let call = AssertUnwindSafe(|| callback(outcomes));
                    if catch_unwind(call).is_err() {
                        tracing::error!("a subscriber's callback panicked; it missed the rest of a batch");
                    }
                }
            }
        }
        if !gone.is_empty() {
            self.list.rcu(|list| {
                let stays = |outlet: &&Arc<Outlet>| !gone.contains(&Arc::as_ptr(outlet));
                list.iter().filter(stays).cloned().collect::<Vec<_>>()
            });
        }
    }

    /// Ends every subscription.
    pub(super) fn close(&self) {
        self.list.store(Arc::default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Origin, Place, Reason, Refusal, SeriesKey, Stamps, Timeframe, Timestamp};

    fn outcomes(count: i64) -> Vec<Outcome> {
        let series = Arc::new(SeriesKey::new("BTC", Timeframe::MINUTE).unwrap());
        let outcome = |n| Outcome {
            series: Arc::clone(&series),
            horizon: 1,
            ts: Timestamp::from_secs(n),
            close: 1.0,
            revision: 0,
            place: Place::default(),
            origin: Origin::Live,
            stamps: Stamps::default(),
            result: Err(Refusal::new(Reason::NoModel, "")),
            reply: None,
        };
        (0..count).map(outcome).collect()
    }

    #[test]
    fn a_slow_subscriber_misses_and_one_that_left_is_forgotten() {
        let outlets = Outlets::default();
        let (slow, gone) = (outlets.subscribe(2), outlets.subscribe(2));
        drop(gone);
        outlets.publish(&outcomes(5));
        assert_eq!((slow.receiver().len(), slow.missed()), (2, 3));
        assert_eq!(outlets.list.load().len(), 1);
        outlets.close();
        assert_eq!(slow.receiver().iter().count(), 2, "what was delivered can still be read");
    }
}
