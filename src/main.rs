//! The `piooy` program: see [`piooy::cli`].

fn main() -> std::process::ExitCode {
    piooy::cli::main()
}
