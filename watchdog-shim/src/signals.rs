//! What a signal to the shim means.

use rustix::process::Signal;

use crate::options::Session;
use crate::sys::{self, Arrived};

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// SIGTERM: the tree is stopped, by its own stop signal.
    Stop,
    /// SIGINT: COMMAND's to decide about, unless the tree is being stopped.
    Interrupt,
    /// COMMAND gets it.
    Forward(Signal),
    Nothing,
}

/// Of a signal that came to this process.
pub(crate) fn meaning(arrived: Arrived, session: Session) -> Meaning {
    // What a terminal sends, it sends to the whole foreground group: COMMAND has it already. Where COMMAND has a session
    // of its own, it is the hang-up of the terminal that the shim gave up.
    let from_terminal = matches!(
        arrived.signal,
        libc::SIGINT
            | libc::SIGQUIT
            | libc::SIGTSTP
            | libc::SIGHUP
            | libc::SIGCONT
            | libc::SIGWINCH
    );
    let given_up = matches!(arrived.signal, libc::SIGHUP | libc::SIGCONT);
    if arrived.by_kernel && from_terminal && (session == Session::Keep || given_up) {
        return Meaning::Nothing;
    }
    match arrived.signal {
        // A child's news is found by reaping. The other two are for a process in the background that touches its
        // terminal, which the shim does not.
        libc::SIGCHLD | libc::SIGTTIN | libc::SIGTTOU => Meaning::Nothing,
        // A reader of the status that is gone is none of COMMAND's business.
        libc::SIGPIPE if arrived.by_itself => Meaning::Nothing,
        signal => meaning_of_forwarded(signal),
    }
}

/// Of a signal that OUTER has looked at and passed on.
pub(crate) fn meaning_of_forwarded(signal: i32) -> Meaning {
    match signal {
        libc::SIGTERM => Meaning::Stop,
        libc::SIGINT => Meaning::Interrupt,
        _ => sys::signal(signal).map_or(Meaning::Nothing, Meaning::Forward),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(signal: i32, by_kernel: bool) -> Arrived {
        Arrived {
            signal,
            by_kernel,
            by_itself: false,
        }
    }

    #[test]
    fn what_the_terminal_sends_is_not_sent_twice() {
        for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGWINCH] {
            assert_eq!(
                meaning(arrived(signal, true), Session::Keep),
                Meaning::Nothing
            );
            assert_ne!(
                meaning(arrived(signal, false), Session::Keep),
                Meaning::Nothing
            );
            assert_ne!(
                meaning(arrived(signal, true), Session::New),
                Meaning::Nothing
            );
        }
        for signal in [libc::SIGHUP, libc::SIGCONT] {
            assert_eq!(
                meaning(arrived(signal, true), Session::New),
                Meaning::Nothing
            );
        }
    }

    #[test]
    fn term_stops_the_tree_and_the_rest_is_commands() {
        let of = |signal| meaning(arrived(signal, false), Session::New);
        assert_eq!(of(libc::SIGTERM), Meaning::Stop);
        assert_eq!(of(libc::SIGINT), Meaning::Interrupt);
        assert_eq!(of(libc::SIGUSR1), Meaning::Forward(Signal::USR1));
        assert_eq!(of(libc::SIGHUP), Meaning::Forward(Signal::HUP));
        for signal in [libc::SIGCHLD, libc::SIGTTIN, libc::SIGTTOU] {
            assert_eq!(of(signal), Meaning::Nothing);
        }
    }
}
