//! The binary: everything is in the library.
use std::process::ExitCode;

/// Under load a quarter of the CPU time was glibc's malloc, and its heap grew with every burst.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tailhook::cli::main()
}
