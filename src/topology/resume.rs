//! What the stages know of each series, as it passes into the process that replaces this one: what was read and computed
//! once need not be again, however long the history is.
//!
//! A file holds records, each with its length and its checksum: first who wrote it, then one for each series. It is used
//! by the same program under the same rules only; a series whose record is in doubt starts as at any start.

use super::{Topology, TopologyError, feature_rules};
use crate::config::Settings;
use crate::domain::{Bar, SeriesId, SeriesKey, Timeframe};
use crate::feature::{FeatureRules, ResumedSeries, SavedSeries};
use crate::ingest::SavedOrder;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Seek as _, Write};
use std::sync::Arc;

/// A series that goes on where the process before this one left it.
pub struct Resumed {
    /// Which.
    pub series: Arc<SeriesKey>,
    order: SavedOrder<'static>,
    features: ResumedSeries,
}

impl Resumed {
    /// The newest bars that were taken, the oldest first.
    pub fn recent(&self) -> &[Bar] {
        &self.order.recent
    }
}

/// Who wrote a file: the program, and the rules of its features.
fn writer(program: &str, rules: &str) -> String {
    format!("{program}, {rules}")
}

impl Topology {
    /// Writes what is known of each series into `files`, about as many into each; how many. Everything that was taken in
    /// must have come out.
    ///
    /// # Errors
    /// What the system says; what was written is whole records.
    pub fn save_series(&self, program: &str, files: &[File]) -> io::Result<usize> {
        let all = self.series.read();
        let wired: Vec<_> = all.iter().filter(|(_, wired)| wired.ingest.data.newest().is_some()).collect();
        let writer = writer(program, &self.feature.link.stage().fingerprint());
        let write = |file: &File, wired: &[(&Arc<SeriesKey>, &super::Wired)]| -> io::Result<()> {
            let (mut out, mut bytes) = (BufWriter::new(file), Vec::new());
            write_record(&mut out, writer.as_bytes())?;
            for (series, wired) in wired {
                bytes.clear();
                bytes = wired.ingest.data.save(|order| {
                    wired.feature.data.save(|features| {
                        let all = (&*series.symbol, series.timeframe, order, features);
                        postcard::to_extend(&all, std::mem::take(&mut bytes)).map_err(io::Error::other)
                    })
                })?;
                write_record(&mut out, &bytes)?;
            }
            out.flush()
        };
        let share = wired.len().div_ceil(files.len().max(1)).max(1);
        std::thread::scope(|scope| {
            let start =
                |(file, wired)| std::thread::Builder::new().spawn_scoped(scope, move || write(file, wired));
            let writing: Vec<_> = files.iter().zip(wired.chunks(share)).map(start).collect();
            let panicked = |_| io::Error::other("what is known of a series could not be written");
            writing.into_iter().try_for_each(|writing| writing?.join().map_err(panicked)?)
        })?;
        Ok(wired.len())
    }

    /// Wires series that go on where they were left, before their next bar comes.
    ///
    /// # Errors
    /// When there is no room for so many.
    pub fn resume(&self, all: Vec<Resumed>, settings: &Settings) -> Result<(), TopologyError> {
        let mut wired = self.series.write();
        for Resumed { series, order, features } in all {
            let id = SeriesId(wired.len() as u32);
            let keys = self.add_series(&series, id, Some(features))?;
            self.ingest.link.stage().resume(&keys.ingest.data, order);
            wired.insert(series, keys);
        }
        self.ranking.set_options(super::live::ranking(settings));
        Ok(())
    }
}

/// Reads what the process before this one wrote into `files`; what is in doubt is left out, and the log says why.
pub fn resumed(files: Vec<File>, program: &str, settings: &Settings) -> Vec<Resumed> {
    let rules = feature_rules(settings);
    let writer = writer(program, &rules.fingerprint());
    let read = |file: File| {
        let mut found = Vec::new();
        let problem = read_file(file, &writer, &rules, &mut found);
        if let Err(error) = problem {
            tracing::warn!(%error, "what was known of some series is not used: their history is read");
        }
        found
    };
    std::thread::scope(|scope| {
        let start = |file| std::thread::Builder::new().spawn_scoped(scope, move || read(file));
        let reading: Vec<_> = files.into_iter().map(start).collect();
        // A thread that there is not, or that ended, found nothing.
        reading.into_iter().flatten().flat_map(|reading| reading.join().unwrap_or_default()).collect()
    })
}

fn read_file(
    mut file: File,
    writer: &str,
    rules: &FeatureRules,
    found: &mut Vec<Resumed>,
) -> Result<(), io::Error> {
    file.rewind()?;
    let bytes_max = file.metadata()?.len();
    let (mut file, mut bytes) = (BufReader::new(file), Vec::new());
    if !read_record(&mut file, bytes_max, &mut bytes)? || bytes != writer.as_bytes() {
        return Err(io::Error::other("another program wrote it, or features follow other rules now"));
    }
    while read_record(&mut file, bytes_max, &mut bytes)? {
        found.push(series(&bytes, rules).ok_or_else(|| io::Error::other("it is not what was expected"))?);
    }
    Ok(())
}

fn series(bytes: &[u8], rules: &FeatureRules) -> Option<Resumed> {
    type Saved = (String, Timeframe, SavedOrder<'static>, SavedSeries<'static>);
    let (symbol, timeframe, order, features): Saved = postcard::from_bytes(bytes).ok()?;
    let series = Arc::new(SeriesKey::new(&symbol, timeframe).ok()?);
    let features = rules.resume(&series, features)?;
    Some(Resumed { series, order, features })
}

/// Length, checksum, data.
fn write_record(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&crc32fast::hash(bytes).to_le_bytes())?;
    out.write_all(bytes)
}

/// The next record into `bytes`; false at the end.
fn read_record(from: &mut impl Read, bytes_max: u64, bytes: &mut Vec<u8>) -> io::Result<bool> {
    let mut number = [0; 4];
    match from.read_exact(&mut number) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(false),
        read => read?,
    }
    let length = u32::from_le_bytes(number);
    if u64::from(length) > bytes_max {
        return Err(io::Error::other("a record is longer than its file"));
    }
    from.read_exact(&mut number)?;
    bytes.resize(length as usize, 0);
    from.read_exact(bytes)?;
    if crc32fast::hash(bytes) != u32::from_le_bytes(number) {
        return Err(io::Error::other("the checksum does not match"));
    }
    Ok(true)
}
