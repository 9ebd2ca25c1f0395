//! The folder source against files that are written, cut and replaced.

use super::*;
use crate::config::CatchUp;
use crate::source::testing::drained;
use std::fmt::Write as _;
use std::io::Write as _;
use tempfile::TempDir;

const HEADER: &str = "ts,open,high,low,close,volume\n";
const ALL: History = History::new(0, CatchUp::All, 1000);

fn line(minute: i64) -> String {
    format!("{},1,1,1,1,1\n", Timestamp::from_secs(minute * 60))
}

fn append(folder: &TempDir, name: &str, text: &str) {
    let path = folder.path().join(name);
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn follow(folder: &TempDir, history: History, watermarks: &[(&str, i64)]) -> Follow {
    let watermarks: Vec<_> = watermarks
        .iter()
        .map(|(symbol, minute)| {
            let key = SeriesKey::new(symbol, crate::domain::Timeframe::MINUTE).unwrap();
            (Arc::new(key), Timestamp::from_secs(minute * 60))
        })
        .collect();
    Follow::open(folder.path(), history, &watermarks, Duration::ZERO).unwrap()
}

/// What there is by now, the folder listed even if its time has too coarse a tick to show a change.
fn drain(source: &mut Follow) -> Vec<String> {
    source.list_at = Instant::now();
    drained(source, 0)
}

#[test]
fn what_is_there_is_history_and_what_is_appended_is_live() {
    let folder = tempfile::tempdir().unwrap();
    append(&folder, "B_1m.csv", &format!("{HEADER}{}{}", line(3), line(4)));
    append(&folder, "A_1m.csv", &format!("{HEADER}{}{}{}", line(4), line(5), line(6)));
    append(&folder, "A_5m.csv", &format!("{HEADER}{}", line(0)));
    let mut source = follow(&folder, ALL, &[("A", 4)]);
    append(&folder, "A_1m.csv", &line(7));
    assert_eq!(
        drain(&mut source),
        ["B 1m 3 c", "A 5m 0 c", "A 1m 4 w", "B 1m 4 c", "A 1m 5 c", "A 1m 6 c", "A 1m 7 l"]
    );
    assert!(drain(&mut source).is_empty());
    append(&folder, "B_1m.csv", &line(5));
    append(&folder, "A_1m.csv", &line(8));
    assert_eq!(drain(&mut source), ["B 1m 5 l", "A 1m 8 l"]);
}

#[test]
fn only_the_newest_lines_are_read_when_history_is_limited() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = HEADER.to_owned();
    (0..5000).for_each(|minute| write!(text, "{}", line(minute)).unwrap());
    append(&folder, "A_1m.csv", &text);
    let history = History::new(300, CatchUp::All, 200);
    for (watermark, first, predicted) in [(4989, 4690, 4990), (10, 4500, 4800)] {
        let expected: Vec<String> =
            (first..5000).map(|m| format!("A 1m {m} {}", if m < predicted { 'w' } else { 'c' })).collect();
        assert_eq!(drain(&mut follow(&folder, history.clone(), &[("A", watermark)])), expected);
    }
}

#[test]
fn half_written_lines_wait_and_bad_ones_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    append(&folder, "A_1m.csv", &format!("{HEADER}{}bad\n{}", line(1), &line(2)[..9]));
    append(&folder, "B_1m.csv", &HEADER[..7]);
    let mut source = follow(&folder, ALL, &[]);
    assert_eq!(drain(&mut source), ["A 1m 1 c"]);
    append(&folder, "A_1m.csv", &line(2)[9..]);
    append(&folder, "B_1m.csv", &format!("{}{}", &HEADER[7..], line(2)));
    assert_eq!(drain(&mut source), ["A 1m 2 l", "B 1m 2 l"]);
    append(&folder, "A_1m.csv", &format!("\nworse\n{}", line(3)));
    assert_eq!(drain(&mut source), ["A 1m 3 l"]);
    assert_eq!(source.lines_skipped(), 2);
}

#[test]
fn new_files_are_noticed_and_unusable_ones_left_out() {
    let folder = tempfile::tempdir().unwrap();
    append(&folder, "notes.csv", "a,b\n");
    append(&folder, "X_1m.csv", "a,b\n1,2\n");
    let mut source = follow(&folder, ALL, &[]);
    assert!(drain(&mut source).is_empty());
    append(&folder, "A_1m.csv", &format!("{HEADER}{}", line(1)));
    append(&folder, "A_60s.csv", &format!("{HEADER}{}", line(1)));
    append(&folder, "readme.txt", "a,b\n");
    assert_eq!(drain(&mut source), ["A 1m 1 l"]);
}

#[test]
fn the_folder_may_come_later() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("bars");
    let mut source = Follow::open(&path, ALL, &[], Duration::ZERO).unwrap();
    assert!(drain(&mut source).is_empty());
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("A_1m.csv"), format!("{HEADER}{}", line(1))).unwrap();
    assert_eq!(drain(&mut source), ["A 1m 1 l"]);
}

#[test]
fn a_file_that_was_cut_or_replaced_is_read_from_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("A_1m.csv");
    append(&folder, "A_1m.csv", &format!("{HEADER}{}{}", line(1), line(2)));
    let mut source = follow(&folder, ALL, &[]);
    assert_eq!(drain(&mut source), ["A 1m 1 c", "A 1m 2 c"]);
    std::fs::write(&path, format!("{HEADER}{}", line(3))).unwrap();
    assert_eq!(drain(&mut source), ["A 1m 3 l"]);
    // As long as before, but another file, and with its columns in another order.
    append(&folder, "new", &format!("open,ts,high,low,close,volume\n1,{}", line(4).replacen(",1", "", 1)));
    std::fs::rename(folder.path().join("new"), &path).unwrap();
    assert_eq!(drain(&mut source), ["A 1m 4 l"]);
    std::fs::remove_file(&path).unwrap();
    assert!(drain(&mut source).is_empty());
    append(&folder, "A_1m.csv", &format!("{HEADER}{}{}", line(5), line(6)));
    assert_eq!(drain(&mut source), ["A 1m 5 l", "A 1m 6 l"]);
}
