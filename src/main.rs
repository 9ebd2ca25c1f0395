//! The `vela` program: parse, run one command, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    vela::cli::run()
}
