//! Ravenry: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    ravenry::cli::main()
}
