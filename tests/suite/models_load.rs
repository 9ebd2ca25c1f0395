//! Models under load: slow ones, hanging ones, hungry ones, many of them, and promotion all the while.

mod broken;
mod promotion;
mod sessions;
mod slow;

use crate::support::onnx;
use crate::support::serving::{Folder, START};
use vela::domain::{Bar, Timestamp};

/// A number that the environment gives for the full size of a test.
fn size(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

fn flat_bar(minute: i64, close: f64) -> Bar {
    let ts = Timestamp::from_secs(START + 60 * minute);
    Bar { ts, open: close, high: close, low: close, close, volume: 1.0 }
}

/// A pinned model whose session takes seconds to create.
pub fn put_hanging(folder: &Folder, model: &str, salt: f32, symbol: &str) {
    let toml = format!(
        "symbol = \"{symbol}\"\ntimeframe = \"1m\"\nhorizon = 1\nfeatures = [\"ret_1\"]\npinned = true\n"
    );
    folder.write(&format!("{model}/1/model.onnx"), onnx::hangs_when_loaded(1, 8, salt));
    folder.write(&format!("{model}/1/model.toml"), toml).promote(model, &[1]);
}
