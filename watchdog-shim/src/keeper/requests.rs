//! Requests to the keeper: signals, and messages from OUTER.

use rustix::process::Signal;

use crate::control::{ControlSocket, Message, RECEIVED_AT_ONCE, Received};
use crate::instant::Instant;
use crate::keeper::Keeper;
use crate::ledger::Phase;
use crate::options::Session;
use crate::signals::{self, Meaning};
use crate::status::Cause;
use crate::sys::{self, ReceivedSignal};
use crate::tree::Reach;

impl Keeper<'_> {
    pub(super) fn take_signals(&mut self) {
        for _ in 0..RECEIVED_AT_ONCE {
            let Some(received) = sys::next_signal(&self.signals) else {
                break;
            };
            if self.is_addressed(received) {
                self.obey(signals::meaning(received, self.role));
            }
        }
    }

    /// Whether the signal was meant for this process.
    ///
    /// Signals for the shim are sent to OUTER. If the keeper gets one too, a service manager or
    /// another shim has sent it to every process that it sees. That is one request, and OUTER
    /// handles it. The exception is COMMAND's tree in a PID namespace: it cannot see OUTER, and so
    /// sends its signals here.
    fn is_addressed(&self, received: ReceivedSignal) -> bool {
        match (&self.control, &self.tree.reach) {
            (None, _) => true,
            (Some(_), Reach::Namespace(_)) => received.sender != 0,
            (Some(_), _) => false,
        }
    }

    pub(super) fn take_messages(&mut self) {
        for _ in 0..RECEIVED_AT_ONCE {
            match self.control.as_ref().map(ControlSocket::receive) {
                Some(Received::Message(Message::Signal(signal))) => {
                    self.obey(signals::meaning_of_forwarded(signal));
                }
                Some(Received::Message(_)) => {}
                Some(Received::End) => {
                    self.control = None;
                    self.stop(Cause::OuterDied);
                }
                Some(Received::Nothing) | None => break,
            }
        }
    }

    fn obey(&mut self, meaning: Meaning) {
        let is_stopping = self.ledger.phase() == Phase::Stopping;
        match meaning {
            // A first request changes nothing if the tree is being stopped already. When a system
            // shuts down it sends SIGTERM to the runtime too, which may have begun the stop.
            Meaning::Stop if !self.stop_was_requested => {
                self.stop_was_requested = true;
                self.stop(Cause::Asked);
            }
            // The second request: the sender does not want to wait any longer.
            Meaning::Stop | Meaning::Interrupt if is_stopping => {
                self.ledger.set_deadline(Instant::now());
            }
            Meaning::Interrupt => self.tree.signal_command(Signal::INT),
            // A shell's fg continues the whole group, COMMAND included. COMMAND must not get the
            // signal twice.
            Meaning::Forward(Signal::CONT) if self.role.session == Session::Keep => {
                self.reap();
                if self.command_is_stopped {
                    self.tree.signal_command(Signal::CONT);
                }
            }
            Meaning::Forward(signal) => self.tree.signal_command(signal),
            Meaning::Stop | Meaning::Nothing => {}
        }
    }
}
