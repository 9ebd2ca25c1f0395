//! A database of a test's own with vela's tables, what goes into them, and questions to it.

use super::cluster::Cluster;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use vela::config::{Settings, StoreUrl};
use vela::database::{Server, Session, schema};
use vela::domain::{Origin, Outcome, Place, Prediction, Refusal, SeriesKey, Stamps, Timeframe, Timestamp};

/// How long a statement of a test may take.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Settings that store in `cluster`, with the spool in `folder`.
pub fn settings(cluster: &Cluster, folder: &Path) -> Settings {
    let mut settings = Settings::default();
    settings.store.url = cluster.url().parse().unwrap();
    settings.store.spool_path = folder.join("spool");
    settings
}

/// A connection to the store's database.
pub fn session(settings: &Settings) -> Session {
    let StoreUrl::Postgres(url) = &settings.store.url else { panic!("no PostgreSQL store") };
    Server::new(url, &settings.database).unwrap().connect().unwrap()
}

/// A server with the tables, and settings that store in it.
pub fn ready(folder: &Path, conf: &[&str]) -> Option<(Cluster, Settings)> {
    let cluster = Cluster::start(conf)?;
    let settings = settings(&cluster, folder);
    schema::init(&mut session(&settings), Vec::new()).unwrap();
    Some((cluster, settings))
}

/// The one number that `sql` gives.
pub fn count(session: &mut Session, sql: &'static str) -> i64 {
    session.run("count", DEADLINE, move |client| Ok(client.driver().query_one(sql, &[])?.get(0))).unwrap()
}

/// Of the bar that opened `minute` minutes after the epoch, of one series.
pub fn outcome(minute: i64, origin: Origin, result: Result<Prediction, Refusal>) -> Outcome {
    Outcome {
        series: Arc::new(SeriesKey::new("BTC/USDT", Timeframe::MINUTE).unwrap()),
        horizon: 5,
        ts: Timestamp::from_secs(minute * 60),
        close: 1.0,
        revision: 0,
        place: Place::default(),
        origin,
        stamps: Stamps { arrived_ns: 1_000, ingested_ns: 2_500, featured_ns: 4_000, predicted_ns: 9_000 },
        result,
        reply: None,
    }
}
