//! Predictions as a CSV file whose rows do not depend on how the workers ran.

use super::{Store, StoreError, Watermark};
use crate::domain::{Outcome, Place, Prediction};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of finished rows that are gathered before they go to the file.
const FLUSH_BYTES: usize = 64 * 1024;

/// Writes `symbol,timeframe,horizon,ts,model,version,value` and further outputs, ordered by the bars' arrival.
/// A bar that is answered anew has a further row: the last one stands.
///
/// An outcome waits until those of all bars before it are there, so every bar with a place must yield all its
/// outcomes, or what follows is held until the end. Refusals have their place in the order but no row. The file
/// has the ending `.partial` until `finish` gives it its name, or whoever took [`CsvStore::completion`] does:
/// an interrupted run leaves none that looks complete.
pub struct CsvStore {
    path: PathBuf,
    partial: PathBuf,
    /// `None` once it is complete.
    file: Option<File>,
    names: Vec<Arc<str>>,
    /// The (bar, ordinal) that is written next.
    next: (u64, u32),
    /// What came too early.
    waiting: BTreeMap<(u64, u32), Waiting>,
    /// Rows in order that are not in the file yet.
    ready: Vec<u8>,
    unknown_output_told: bool,
    /// Somebody else gives it its name.
    held: bool,
}

/// The last step of a [`CsvStore`], for a caller that knows whether the run came to its end. Dropped, it leaves
/// the file with the ending `.partial`.
#[must_use]
pub struct Completion {
    path: PathBuf,
    partial: PathBuf,
}

impl Completion {
    /// The file that there is until then.
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// Gives the file its name, once the store has finished.
    ///
    /// # Errors
    /// When the file cannot be renamed.
    pub fn complete(self) -> Result<(), StoreError> {
        rename(&self.partial, &self.path).map_err(|error| failed(&self.path, "complete", &error))
    }
}

fn rename(partial: &Path, path: &Path) -> io::Result<()> {
    std::fs::rename(partial, path)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The new name is on the disk when its folder is; not every file system can tell.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

struct Waiting {
    /// How many outcomes its bar has.
    of: u32,
    /// `None` for a refusal.
    row: Option<Box<str>>,
}

impl CsvStore {
    /// Begins the file that will be `path`, with one column for each of `names` behind `value`.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn create(path: &Path, names: Vec<Arc<str>>) -> Result<Self, StoreError> {
        let mut partial = path.to_owned().into_os_string();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = File::create(&partial).map_err(|error| failed(&partial, "create", &error))?;
        let mut ready = b"symbol,timeframe,horizon,ts,model,version,value".to_vec();
        for name in &names {
            ready.push(b',');
            ready.extend_from_slice(cell(name).as_bytes());
        }
        ready.push(b'\n');
        Ok(Self {
            path: path.to_owned(),
            partial,
            file: Some(file),
            names,
            next: (1, 0),
            waiting: BTreeMap::new(),
            ready,
            unknown_output_told: false,
            held: false,
        })
    }

    /// Takes the last step out of `finish`: the file gets its name when the caller completes it.
    pub fn completion(&mut self) -> Completion {
        self.held = true;
        Completion { path: self.path.clone(), partial: self.partial.clone() }
    }

    /// How many outcomes wait for an earlier one.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn row(&mut self, outcome: &Outcome) -> Option<Box<str>> {
        let prediction = outcome.result.as_ref().ok()?;
        let Prediction { model, version, value, outputs, names } = prediction;
        let mut row = format!(
            "{},{},{},{},{},{version},{value}",
            cell(&outcome.series.symbol),
            outcome.series.timeframe,
            outcome.horizon,
            outcome.ts,
            cell(model),
        );
        for column in &self.names {
            row.push(',');
            if let Some(value) = names.iter().position(|name| name == column).and_then(|i| outputs.get(i)) {
                // The shortest text that reads back as the same bits.
                row.push_str(&value.to_string());
            }
        }
        row.push('\n');
        if !self.unknown_output_told
            && let Some(name) = names.iter().find(|name| !self.names.contains(*name))
        {
            self.unknown_output_told = true;
            tracing::warn!("{}: no column for the output `{name}` of {model}", self.path.display());
        }
        Some(row.into())
    }

    fn take(&mut self, outcome: &Outcome) {
        let Place { seq, ordinal, of, .. } = outcome.place;
        if seq == 0 || (seq, ordinal) < self.next {
            // A caller's question, a bar that was not admitted, or a batch that is written again.
            return;
        }
        let row = self.row(outcome);
        if (seq, ordinal) != self.next {
            self.waiting.insert((seq, ordinal), Waiting { of, row });
            return;
        }
        self.release(of, row);
        while let Some(first) = self.waiting.first_entry()
            && *first.key() == self.next
        {
            let Waiting { of, row } = first.remove();
            self.release(of, row);
        }
    }

    fn release(&mut self, of: u32, row: Option<Box<str>>) {
        self.ready.extend_from_slice(row.as_deref().unwrap_or_default().as_bytes());
        let (seq, ordinal) = self.next;
        self.next = if ordinal + 1 < of { (seq, ordinal + 1) } else { (seq + 1, 0) };
    }

    /// Writes out what is ready; what was written is forgotten also when the rest fails.
    fn flush(&mut self) -> Result<(), StoreError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut written = 0;
        let result = loop {
            if written == self.ready.len() {
                break Ok(());
            }
            match file.write(&self.ready[written..]) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.ready.drain(..written);
        result.map_err(|error| failed(&self.partial, "write", &error))
    }

    fn complete(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.sync_all()?;
            if !self.held {
                rename(&self.partial, &self.path)?;
            }
        }
        self.file = None;
        Ok(())
    }
}

impl Store for CsvStore {
    fn write(&mut self, outcomes: &[Outcome], _: &[Watermark]) -> Result<(), StoreError> {
        for outcome in outcomes {
            self.take(outcome);
        }
        if self.ready.len() >= FLUSH_BYTES { self.flush() } else { Ok(()) }
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        for Waiting { row, .. } in std::mem::take(&mut self.waiting).into_values() {
            self.ready.extend_from_slice(row.as_deref().unwrap_or_default().as_bytes());
        }
        self.flush()?;
        self.complete().map_err(|error| failed(&self.path, "complete", &error))
    }
}

/// A cell, in quotes where it needs them.
fn cell(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into()
    } else {
        text.into()
    }
}

fn failed(path: &Path, what: &str, error: &io::Error) -> StoreError {
    let fatal = matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory
    );
    StoreError { store: path.display().to_string(), problem: format!("{what}: {error}"), retryable: !fatal }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing::{predicted, refused};

    fn placed(mut outcome: Outcome, seq: u64, ordinal: u32, of: u32) -> Outcome {
        outcome.place = Place { seq, series_seq: seq, ordinal, of };
        outcome
    }

    /// Bars 1 to 4 with two horizons each; bar 2's first and all of bar 3's were refused.
    fn run() -> Vec<Outcome> {
        let mut all = Vec::new();
        for seq in 1..=4_u64 {
            for ordinal in 0..2 {
                let outcome = if seq == 3 || (seq, ordinal) == (2, 0) {
                    refused(seq as i64, ordinal + 1)
                } else {
                    predicted(seq as i64, ordinal + 1, seq as f64 + f64::from(ordinal) / 10.0)
                };
                all.push(placed(outcome, seq, ordinal, 2));
            }
        }
        all
    }

    fn rows(path: &Path) -> Vec<String> {
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn any_order_of_arrival_gives_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.csv");
        let outcomes = run();
        for step in [1, 3, 5, 7] {
            // Steps prime to the count visit every outcome once.
            let mut store = CsvStore::create(&path, Vec::new()).unwrap();
            for i in 0..outcomes.len() {
                let outcome = &outcomes[(i * step + step) % outcomes.len()];
                store.write(std::slice::from_ref(outcome), &[]).unwrap();
                store.write(std::slice::from_ref(outcome), &[]).unwrap();
                store.write(&[placed(predicted(9, 9, 9.0), 0, 0, 1)], &[]).unwrap();
            }
            assert_eq!(store.waiting(), 0);
            store.finish().unwrap();
            assert_eq!(
                rows(&path),
                [
                    "symbol,timeframe,horizon,ts,model,version,value",
                    "A,1m,1,1970-01-01T00:01:00Z,m,3,1",
                    "A,1m,2,1970-01-01T00:01:00Z,m,3,1.1",
                    "A,1m,2,1970-01-01T00:02:00Z,m,3,2.1",
                    "A,1m,1,1970-01-01T00:04:00Z,m,3,4",
                    "A,1m,2,1970-01-01T00:04:00Z,m,3,4.1",
                ]
            );
        }
    }

    #[test]
    fn what_still_waits_at_the_end_is_written_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.csv");
        let mut store = CsvStore::create(&path, Vec::new()).unwrap();
        let outcomes = run();
        store.write(&[outcomes[7].clone(), outcomes[1].clone()], &[]).unwrap();
        assert_eq!(store.waiting(), 2);
        assert!(!path.exists());
        store.finish().unwrap();
        let rows = rows(&path);
        assert!(rows[1].ends_with(",1.1") && rows[2].ends_with(",4.1"), "{rows:?}");
        assert!(!path.with_extension("csv.partial").exists());
        store.finish().unwrap();
    }

    #[test]
    fn outputs_go_to_their_columns_and_floats_read_back_exactly() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.csv");
        let values = [-0.0, 0.1 + 0.2, 5e-324, f64::MAX, f64::MIN_POSITIVE, 1.0 / 3.0, -1e17];
        let mut store = CsvStore::create(&path, vec!["p,1".into(), "q".into()]).unwrap();
        for (value, seq) in values.into_iter().zip(1..) {
            let mut outcome = placed(predicted(seq as i64, 1, value), seq, 0, 1);
            if let Ok(prediction) = &mut outcome.result {
                prediction.names = ["q".into()].into();
                prediction.outputs = [value].into();
            }
            store.write(&[outcome], &[]).unwrap();
        }
        store.finish().unwrap();
        let rows = rows(&path);
        assert!(rows[0].ends_with(",value,\"p,1\",q"));
        for (row, value) in rows[1..].iter().zip(values) {
            let cells: Vec<&str> = row.split(',').collect();
            assert_eq!(cells[7], "");
            for read in [cells[6], cells[8]] {
                assert_eq!(read.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{row}");
            }
        }
    }
}
