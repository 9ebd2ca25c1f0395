//! The demo's models, carried in the program: see `demo/README.md` for how they were trained.

use std::path::Path;

macro_rules! models {
    ($($path:literal,)+) => {
        &[$(($path, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/demo/models/", $path)).as_slice()),)+]
    };
}

const FILES: &[(&str, &[u8])] = models![
    "demo-1m-h1/promoted",
    "demo-1m-h1/1/model.onnx",
    "demo-1m-h1/1/model.toml",
    "demo-1m-h1/2/model.onnx",
    "demo-1m-h1/2/model.toml",
    "demo-1m-h5/promoted",
    "demo-1m-h5/1/model.onnx",
    "demo-1m-h5/1/model.toml",
    "demo-1m-h15/promoted",
    "demo-1m-h15/1/model.onnx",
    "demo-1m-h15/1/model.toml",
    "demo-btcusd-1m-h5/promoted",
    "demo-btcusd-1m-h5/1/model.onnx",
    "demo-btcusd-1m-h5/1/model.toml",
];

/// Writes the models folder.
pub(super) fn write(folder: &Path) -> std::io::Result<()> {
    for (path, bytes) in FILES {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, bytes)?;
    }
    Ok(())
}
