//! The bars of one series, out of all files that hold some of it: those under its own name, and those under its aliases.

use crate::domain::{Aliases, Bar, Dialect, SeriesKey};
use crate::source::{BarFile, BarReader, SourceError};

/// A series, and the files that hold bars of it.
#[derive(Debug)]
pub(super) struct SeriesFiles {
    pub(super) series: SeriesKey,
    /// By the names that they have for it.
    pub(super) files: Vec<BarFile>,
    /// There may be no bar of it: each file's name stands for another series as well.
    pub(super) perhaps: bool,
}

/// All series that `files` hold, in the order of the files.
pub(super) fn by_series(files: &[BarFile], aliases: &Aliases) -> Vec<SeriesFiles> {
    let mut all: Vec<SeriesFiles> = Vec::with_capacity(files.len());
    for file in files {
        let mut meant: Vec<SeriesKey> = Vec::new();
        for meaning in aliases.meanings(&file.series) {
            if !meant.contains(&meaning.series) {
                meant.push(meaning.series);
            }
        }
        let perhaps = meant.len() > 1;
        for series in meant {
            match all.iter_mut().find(|known| known.series == series) {
                Some(known) => {
                    known.files.push(file.clone());
                    known.perhaps &= perhaps;
                }
                None => all.push(SeriesFiles { series, files: vec![file.clone()], perhaps }),
            }
        }
    }
    // As a replay puts bars that close together in order.
    all.iter_mut().for_each(|one| one.files.sort_by(|a, b| a.series.symbol.cmp(&b.series.symbol)));
    all
}

/// Reads the bars of one series, by time where there are several files, each in its own order.
pub(super) struct SeriesReader<'a> {
    series: &'a SeriesKey,
    dialect: &'a Dialect,
    files: Vec<(&'a SeriesKey, BarReader)>,
    /// The next bar of each file that has one.
    heads: Vec<Option<Bar>>,
}

impl SeriesFiles {
    /// Opens the files.
    pub(super) fn reader<'a>(&'a self, dialect: &'a Dialect) -> Result<SeriesReader<'a>, SourceError> {
        let open = |file: &'a BarFile| Ok((&file.series, file.reader()?));
        let files = self.files.iter().map(open).collect::<Result<Vec<_>, SourceError>>()?;
        let mut reader = SeriesReader { series: &self.series, dialect, files, heads: Vec::new() };
        for file in 0..reader.files.len() {
            let head = reader.next_of(file)?;
            reader.heads.push(head);
        }
        Ok(reader)
    }
}

impl SeriesReader<'_> {
    /// The next bar; `None` behind the last.
    pub(super) fn next_bar(&mut self) -> Result<Option<Bar>, SourceError> {
        let heads = self.heads.iter().enumerate();
        let first = heads.filter_map(|(file, head)| head.map(|bar| (bar.ts, file))).min();
        let Some((_, file)) = first else { return Ok(None) };
        let next = self.next_of(file)?;
        Ok(std::mem::replace(&mut self.heads[file], next))
    }

    /// The next bar of this series in one file.
    fn next_of(&mut self, file: usize) -> Result<Option<Bar>, SourceError> {
        let (name, reader) = &mut self.files[file];
        while let Some(bar) = reader.next_bar()? {
            let symbol = self.dialect.aliases.symbol(&name.symbol, bar.ts).unwrap_or(&name.symbol);
            if *symbol == self.series.symbol {
                return Ok(Some(self.dialect.bar(bar)));
            }
        }
        Ok(None)
    }
}
