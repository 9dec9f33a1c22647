//! OUTER: the process that the runtime knows.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Pid;

use crate::control::{ControlSocket, Message, RECEIVED_AT_ONCE, Received};
use crate::failure::Failure;
use crate::ledger::Phase;
use crate::shim::end::End;
use crate::shim::setup::Setup;
use crate::shim::{inherited, protection, take_over};
use crate::signals::{self, Meaning, SessionRole};
use crate::sys::{self, SoleThread};

/// Passes signals on until all processes of the shim below are gone. Takes over if they have not
/// finished.
///
/// `signals` were opened before `child` was forked: from then on nothing may fail here.
pub(crate) fn run(
    setup: Setup<'_>,
    control: &ControlSocket,
    signals: OwnedFd,
    child: Pid,
) -> Result<End, Failure> {
    let role = SessionRole::of_this_process(setup.session);
    loop {
        let mut fds = [
            PollFd::new(&signals, PollFlags::IN),
            PollFd::from_borrowed_fd(control.as_fd(), PollFlags::IN),
        ];
        let time = control.send_again();
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        // Whatever poll returns, both descriptors are checked.
        let _ = poll(&mut fds, time.as_ref());
        protection::continue_if_stopped(child);
        forward_signals(&signals, role, control);
        if !follow_message(&setup.alone, control) {
            break;
        }
    }
    let (ledger, exit) = (setup.ledger, setup.options.exit);
    if ledger.phase() == Phase::Done {
        // The process that inherits OUTER's orphans may not reap them. The child has ended, or is
        // about to.
        let _ = sys::reap(child);
    } else {
        take_over::run(setup, signals, None);
    }
    End::of(ledger, exit)
}

fn forward_signals(signals: &OwnedFd, role: SessionRole, control: &ControlSocket) {
    for _ in 0..RECEIVED_AT_ONCE {
        let Some(received) = sys::next_signal(signals) else {
            break;
        };
        match signals::meaning(received, role) {
            Meaning::Nothing => {}
            Meaning::Stop | Meaning::Interrupt | Meaning::Forward(_) => {
                control.send(Message::Signal(received.signal));
            }
        }
    }
}

/// Handles one message. Returns whether there can be other messages.
fn follow_message(alone: &SoleThread, control: &ControlSocket) -> bool {
    match control.receive() {
        Received::Message(Message::Started) => inherited::close_all(alone),
        Received::Message(Message::Stopped) => {
            sys::stop_here();
            // Continued, for example by a shell's fg.
            control.send(Message::Signal(libc::SIGCONT));
        }
        Received::Message(Message::Signal(_)) | Received::Nothing => {}
        Received::End => return false,
    }
    true
}
