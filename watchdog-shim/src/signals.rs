//! What a signal to the shim means.

use rustix::process::Signal;

use crate::options::Session;
use crate::sys::{self, ReceivedSignal};

/// What to do about a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// SIGTERM: stop the tree, by the policy's stop signal.
    Stop,
    /// SIGINT: COMMAND gets it, and decides. If the tree is being stopped, the grace period ends.
    Interrupt,
    /// COMMAND gets it.
    Forward(Signal),
    Nothing,
}

/// The sessions of COMMAND and of this process. They decide which signals the kernel itself sends
/// to COMMAND.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionRole {
    /// COMMAND's session.
    pub(crate) session: Session,
    /// Whether this process leads its session. The kernel sends a terminal's hang-up only to the
    /// leader.
    pub(crate) leads: bool,
}

impl SessionRole {
    pub(crate) fn of_this_process(session: Session) -> SessionRole {
        SessionRole {
            session,
            leads: sys::leads_session(),
        }
    }
}

/// What a signal that came to this process means.
pub(crate) fn meaning(received: ReceivedSignal, role: SessionRole) -> Meaning {
    let hang_up = matches!(received.signal, libc::SIGHUP | libc::SIGCONT);
    // All other signals of a terminal go to the whole foreground group.
    let to_group = matches!(
        received.signal,
        libc::SIGINT | libc::SIGQUIT | libc::SIGTSTP | libc::SIGWINCH
    );
    let is_known_already = match role.session {
        Session::Keep => to_group || hang_up && !role.leads,
        // They come from the terminal that the shim has given to COMMAND.
        Session::New => hang_up,
    };
    if received.by_kernel && is_known_already {
        return Meaning::Nothing;
    }
    match received.signal {
        // Children that have ended are found by reaping. The other two are for a background process
        // that uses its terminal, which the shim does not do.
        libc::SIGCHLD | libc::SIGTTIN | libc::SIGTTOU => Meaning::Nothing,
        // SIGPIPE: nobody reads the reports any more. SIGCONT: the tree is gone, and the kernel has
        // continued OUTER. Neither concerns COMMAND.
        libc::SIGPIPE | libc::SIGCONT if received.by_itself => Meaning::Nothing,
        signal => meaning_of_forwarded(signal),
    }
}

/// What a signal means that OUTER has checked and passed on.
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

    fn received(signal: i32, by_kernel: bool) -> ReceivedSignal {
        ReceivedSignal {
            signal,
            by_kernel,
            by_itself: false,
            sender: 0,
        }
    }

    const KEEP: SessionRole = SessionRole {
        session: Session::Keep,
        leads: false,
    };
    const NEW: SessionRole = SessionRole {
        session: Session::New,
        leads: false,
    };

    #[test]
    fn what_the_terminal_sends_is_not_sent_twice() {
        for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGWINCH] {
            assert_eq!(meaning(received(signal, true), KEEP), Meaning::Nothing);
            assert_ne!(meaning(received(signal, false), KEEP), Meaning::Nothing);
            assert_ne!(meaning(received(signal, true), NEW), Meaning::Nothing);
        }
        for signal in [libc::SIGHUP, libc::SIGCONT] {
            assert_eq!(meaning(received(signal, true), NEW), Meaning::Nothing);
            assert_eq!(meaning(received(signal, true), KEEP), Meaning::Nothing);
        }
    }

    #[test]
    fn hang_up_that_comes_to_the_leader_of_the_session_alone_is_passed_on() {
        let role = SessionRole {
            leads: true,
            ..KEEP
        };
        let hang_up = meaning(received(libc::SIGHUP, true), role);
        assert_eq!(hang_up, Meaning::Forward(Signal::HUP));
    }

    #[test]
    fn term_stops_the_tree_and_the_rest_is_commands() {
        let of = |signal| meaning(received(signal, false), NEW);
        assert_eq!(of(libc::SIGTERM), Meaning::Stop);
        assert_eq!(of(libc::SIGINT), Meaning::Interrupt);
        assert_eq!(of(libc::SIGUSR1), Meaning::Forward(Signal::USR1));
        assert_eq!(of(libc::SIGHUP), Meaning::Forward(Signal::HUP));
        for signal in [libc::SIGCHLD, libc::SIGTTIN, libc::SIGTTOU] {
            assert_eq!(of(signal), Meaning::Nothing);
        }
    }
}
