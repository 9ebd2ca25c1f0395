//! How many requests a client may send: a bucket of tokens for each address.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// The most addresses that are remembered; beyond it those go that may send most.
const CLIENTS_MAX: usize = 8192;

struct Bucket {
    tokens: f64,
    at: Instant,
}

/// The buckets of all clients. Each holds as many tokens as come in a second.
pub struct Rate {
    per_s: f64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

impl Rate {
    /// At most `per_s` requests a second of each client; `None` for 0, which is no bound.
    pub fn new(per_s: u64) -> Option<Self> {
        (per_s > 0).then(|| Self { per_s: per_s as f64, buckets: Mutex::default() })
    }

    /// Takes a token of `client` at `now`; how long it has to wait where there is none.
    ///
    /// # Errors
    /// How long the client has to wait.
    pub fn take(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock();
        let client = client_of(client);
        if buckets.len() >= CLIENTS_MAX && !buckets.contains_key(&client) {
            self.forget(&mut buckets, now);
        }
        let full = Bucket { tokens: self.per_s, at: now };
        let bucket = buckets.entry(client).or_insert(full);
        let since_s = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + since_s * self.per_s).min(self.per_s);
        bucket.at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - bucket.tokens) / self.per_s))
    }

    /// Forgets who has a full bucket, or, where nobody has, those who came longest ago.
    fn forget(&self, buckets: &mut HashMap<IpAddr, Bucket>, now: Instant) {
        buckets.retain(|_, bucket| now.saturating_duration_since(bucket.at) < Duration::from_secs(1));
        if buckets.len() >= CLIENTS_MAX {
            let mut times: Vec<Instant> = buckets.values().map(|bucket| bucket.at).collect();
            let (_, median, _) = times.select_nth_unstable(CLIENTS_MAX / 2);
            let median = *median;
            buckets.retain(|_, bucket| bucket.at > median);
        }
    }
}

/// What counts as one client: an IPv4 address, or the network that one subscriber of IPv6 has.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let mut octets = v6.octets();
            octets[8..].fill(0);
            IpAddr::from(octets)
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_its_rate_and_no_other_suffers() {
        let rate = Rate::new(10).unwrap();
        let (greedy, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let begin = Instant::now();
        let mut taken = 0;
        for ms in 0..2000 {
            taken += usize::from(rate.take(greedy, begin + Duration::from_millis(ms)).is_ok());
        }
        // The full bucket, and what came in two seconds.
        assert!((29..=30).contains(&taken), "{taken}");
        assert!(rate.take(other, begin + Duration::from_secs(2)).is_ok());
        let wait = rate
            .take(greedy, begin + Duration::from_secs(2))
            .and_then(|()| rate.take(greedy, begin + Duration::from_secs(2)));
        assert!(wait.is_err_and(|wait| wait <= Duration::from_millis(100)));
        assert!(Rate::new(0).is_none());
    }

    #[test]
    fn addresses_without_end_are_not_remembered_without_end() {
        let rate = Rate::new(1).unwrap();
        let now = Instant::now();
        for n in 0..3 * CLIENTS_MAX as u32 {
            let _ = rate.take(IpAddr::from(n.to_be_bytes()), now + Duration::from_micros(n.into()));
        }
        assert!(rate.buckets.lock().len() <= CLIENTS_MAX);
        let network = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        assert_eq!(client_of(network(1)), client_of(network(2)));
    }
}
