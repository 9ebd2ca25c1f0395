//! What a change of the configuration comes to while the system runs: which keys take effect, which wait for the next
//! start. A pure function of two settings.

use super::keys::{KEYS, Settings};
use super::table::Change;

/// What became of a change. Keys by their dotted names, in the table's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconfigured {
    /// Keys whose new values are in effect.
    pub live: Vec<&'static str>,
    /// Keys whose new values take effect at the next start; until then the system runs with the old ones.
    pub at_restart: Vec<&'static str>,
}

impl Reconfigured {
    /// Whether nothing is different.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.at_restart.is_empty()
    }
}

impl Settings {
    /// What is in force once a system that runs with these settings was asked to run with `wanted`.
    pub fn changed_to(&self, wanted: &Self) -> (Self, Reconfigured) {
        let (mut next, mut report) = (self.clone(), Reconfigured::default());
        for key in KEYS.iter().filter(|key| key.value(self) != key.value(wanted)) {
            match key.change {
                Change::Live => {
                    key.copy(wanted, &mut next);
                    report.live.push(key.name);
                }
                Change::Restart => report.at_restart.push(key.name),
            }
        }
        (next, report)
    }
}
