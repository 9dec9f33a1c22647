//! What a fixture must not take over from whoever started the tests.

/// Signals that a shell lets its background jobs ignore (`cargo test &` in a script), or nohup(1)
/// does. What a process ignores, its children ignore, through every exec: a stop signal would stop
/// nobody.
const IGNORED_BY_SHELLS: [libc::c_int; 3] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT];

/// Whether its default action may write a core: signal(7).
pub fn dumps_core(signal: libc::c_int) -> bool {
    matches!(
        signal,
        libc::SIGQUIT
            | libc::SIGILL
            | libc::SIGTRAP
            | libc::SIGABRT
            | libc::SIGBUS
            | libc::SIGFPE
            | libc::SIGSEGV
            | libc::SIGXCPU
            | libc::SIGXFSZ
            | libc::SIGSYS
    )
}

/// First in main: these signals do what they do by default, here and in all children.
pub fn default_actions() {
    for signal in IGNORED_BY_SHELLS {
        // SAFETY: SIG_DFL is no function that could be wrong, and no thread runs yet that could set
        // another.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}
