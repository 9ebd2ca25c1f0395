//! `vela features`: the features of bars, computed by the kernels that serve.

use super::CliError;
use crate::feature::{Plan, catalogue};
use crate::source::{CsvReader, series_of};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// CSV files named SYMBOL_TIMEFRAME.csv
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    bars: Vec<PathBuf>,
    /// Feature names, separated by commas, or the name of a set (`default`)
    #[arg(long, value_name = "NAMES", default_value = "default")]
    features: String,
    /// The file to write; a folder when there are several files of bars
    #[arg(long, value_name = "FILE_OR_DIR")]
    out: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let names: Vec<String> = match catalogue::set(&arguments.features) {
        Some(names) => names.iter().map(|name| name.to_string()).collect(),
        None => arguments.features.split(',').map(|name| name.trim().to_owned()).collect(),
    };
    let into_folder = arguments.bars.len() > 1 || arguments.out.is_dir();
    for path in &arguments.bars {
        let series = series_of(path)?;
        let out = if into_folder {
            let name = format!("{}_{}.features.csv", series.symbol.replace('/', "-"), series.timeframe);
            arguments.out.join(name)
        } else {
            arguments.out.clone()
        };
        let plan = Plan::new(&names, series.timeframe)?;
        let rows = write(path, &plan, &out)?;
        writeln!(std::io::stdout(), "{}: {rows} rows of {} features", out.display(), names.len())?;
    }
    Ok(())
}

fn write(bars: &Path, plan: &Plan, out: &Path) -> Result<u64, CliError> {
    let failed = |error: std::io::Error| CliError::Failed(format!("{}: {error}", out.display()));
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut reader = CsvReader::open(bars)?;
    // Under another name until it is whole: what a bad line ended must not be taken for all.
    let mut partial = out.to_owned().into_os_string();
    partial.push(".partial");
    let mut file = BufWriter::new(File::create(&partial).map_err(failed)?);
    let mut state = plan.state();
    let mut values = vec![0.0; plan.names().len()];
    writeln!(file, "ts,{}", plan.names().join(",")).map_err(failed)?;
    let mut rows = 0;
    while let Some(bar) = reader.next_bar()? {
        state.update(&bar);
        state.write(&mut values);
        write!(file, "{}", bar.ts).map_err(failed)?;
        for value in &values {
            if value.is_nan() {
                write!(file, ",nan").map_err(failed)?;
            } else {
                write!(file, ",{value}").map_err(failed)?;
            }
        }
        writeln!(file).map_err(failed)?;
        rows += 1;
    }
    file.flush().map_err(failed)?;
    std::fs::rename(&partial, out).map_err(failed)?;
    Ok(rows)
}
