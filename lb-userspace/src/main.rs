//! The binary `lb`.

fn main() -> std::process::ExitCode {
    lb::cli::main()
}
