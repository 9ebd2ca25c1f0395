//! Bars out of Parquet files that other programs wrote: those of CSV, or told what is wrong.

use super::{csv, features, market_home, meta};
use crate::service_support::MODELS;
use crate::support::Random;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{DoubleType, FloatType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use std::path::Path;
use std::sync::Arc;
use vela::domain::Bar;

/// Bars as other programs write them: odd order, a foreign column, several row groups, floats and integers.
fn write_parquet(path: &Path, bars: &[Bar], unit: TimeUnit) {
    let field = |name: &str, of: Physical, logical: Option<LogicalType>| {
        let made = Type::primitive_type_builder(name, of).with_logical_type(logical);
        Arc::new(made.with_repetition(Repetition::OPTIONAL).build().unwrap())
    };
    let fields = vec![
        field("Close", Physical::DOUBLE, None),
        field("note", Physical::INT32, None),
        field("high", Physical::DOUBLE, None),
        field("ts", Physical::INT64, Some(LogicalType::timestamp(true, unit))),
        field("low", Physical::DOUBLE, None),
        field("open", Physical::DOUBLE, None),
        field("volume", Physical::FLOAT, None),
    ];
    let schema = Arc::new(Type::group_type_builder("bars").with_fields(fields).build().unwrap());
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let file = std::fs::File::create(path).unwrap();
    let mut file = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    let per_ms = match unit {
        TimeUnit::MILLIS => 1,
        TimeUnit::MICROS => 1000,
        TimeUnit::NANOS => 1_000_000,
    };
    for bars in bars.chunks(70) {
        let mut group = file.next_row_group().unwrap();
        let present = vec![1; bars.len()];
        let prices = |of: fn(&Bar) -> f64| bars.iter().map(of).collect::<Vec<_>>();
        macro_rules! column {
            ($Kind:ty, $values:expr) => {{
                let mut column = group.next_column().unwrap().unwrap();
                column.typed::<$Kind>().write_batch(&$values, Some(&present), None).unwrap();
                column.close().unwrap();
            }};
        }
        // A price that is null is no number, as an empty cell would be.
        let mut column = group.next_column().unwrap().unwrap();
        let closes: Vec<f64> = prices(|b| b.close).into_iter().filter(|close| !close.is_nan()).collect();
        let known: Vec<i16> = bars.iter().map(|bar| i16::from(!bar.close.is_nan())).collect();
        column.typed::<DoubleType>().write_batch(&closes, Some(&known), None).unwrap();
        column.close().unwrap();
        column!(Int32Type, vec![7; bars.len()]);
        column!(DoubleType, prices(|b| b.high));
        column!(Int64Type, bars.iter().map(|b| b.ts.as_millis() * per_ms).collect::<Vec<_>>());
        column!(DoubleType, prices(|b| b.low));
        column!(DoubleType, prices(|b| b.open));
        column!(FloatType, bars.iter().map(|b| b.volume as f32).collect::<Vec<_>>());
        group.close().unwrap();
    }
    file.close().unwrap();
}

#[test]
fn bars_of_parquet_are_those_of_csv() {
    let (home, mut series) = market_home(2, 500);
    std::fs::create_dir(home.path("parquet")).unwrap();
    for ((symbol, bars), unit) in series.iter_mut().zip([TimeUnit::MICROS, TimeUnit::NANOS]) {
        // What a float can hold, so that both files say the same.
        bars.iter_mut().for_each(|bar| bar.volume = f64::from(bar.volume as f32));
        bars[200].close = f64::NAN;
        home.write(&format!("bars/{symbol}_1m.csv"), csv(bars));
        write_parquet(&home.path(&format!("parquet/{symbol}_1m.parquet")), bars, unit);
    }
    let told = ["bars", "parquet"].map(|folder| {
        features(&home, &format!("--bars {folder} --out {folder}.csv")).done();
        let out = format!("replayed-{folder}.csv");
        home.finish(&["replay", "--bars", folder, "--models", MODELS, "--out", &out]).done();
        assert_eq!(meta(&home, &format!("{folder}.csv"))["series"][0]["refused"]["not_finite"], 1);
        [format!("{folder}.csv"), out].map(|name| std::fs::read_to_string(home.path(&name)).unwrap())
    });
    assert_eq!(told[0], told[1]);
    assert!(told[0][1].lines().count() > 1000);

    // Times without a zone or a unit are not guessed.
    let write = |logical: Option<LogicalType>| {
        let field = |name: &str, of, logical| {
            let made = Type::primitive_type_builder(name, of).with_logical_type(logical);
            Arc::new(made.with_repetition(Repetition::REQUIRED).build().unwrap())
        };
        let mut fields = vec![field("ts", Physical::INT64, logical)];
        fields.extend(
            ["open", "high", "low", "close", "volume"].map(|name| field(name, Physical::DOUBLE, None)),
        );
        let schema = Arc::new(Type::group_type_builder("bars").with_fields(fields).build().unwrap());
        let file = std::fs::File::create(home.path("X_1m.parquet")).unwrap();
        SerializedFileWriter::new(file, schema, Default::default()).unwrap().close().unwrap();
        features(&home, "--bars X_1m.parquet --out x.csv")
    };
    write(None).refused(1, &["X_1m.parquet", "`ts` is INT64", "TIMESTAMP in UTC"]);
    write(Some(LogicalType::timestamp(false, TimeUnit::MILLIS))).refused(1, &["no time zone", "UTC"]);
    write(Some(LogicalType::timestamp(true, TimeUnit::MILLIS))).done();
    features(&home, "--bars x.csv --out y.csv").refused(1, &["x.csv", "SYMBOL_TIMEFRAME.csv"]);
}

#[test]
fn a_damaged_parquet_file_is_told_and_never_a_panic() {
    let (home, series) = market_home(1, 300);
    let path = home.path("D_1m.parquet");
    write_parquet(&path, &series["BTCUSD"], TimeUnit::MILLIS);
    let whole = std::fs::read(&path).unwrap();
    let mut random = Random(5);
    let mut refused = 0;
    for _ in 0..400 {
        let mut bytes = whole.clone();
        for _ in 0..random.between(1, 4) {
            let at = random.between(0, bytes.len() - 1);
            bytes[at] ^= 1 << random.between(0, 7);
        }
        std::fs::write(&path, &bytes).unwrap();
        let file = vela::source::bar_files(std::slice::from_ref(&path)).unwrap().remove(0);
        let read = || -> Result<u64, vela::source::SourceError> {
            let mut reader = file.reader()?;
            let mut bars = 0;
            while reader.next_bar()?.is_some() {
                bars += 1;
            }
            Ok(bars)
        };
        match read() {
            Ok(bars) => assert!(bars <= 300),
            Err(error) => {
                assert!(error.to_string().contains("D_1m.parquet"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 50, "{refused}: most damage is noticed");
}
