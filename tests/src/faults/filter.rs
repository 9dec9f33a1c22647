//! Which calls of a subject wait for the injector.

use crate::notify;

use super::marker::MARKER;

/// Calls that are looked at in each case: who is signalled, and who becomes another program.
pub const ALWAYS: [libc::c_long; 7] = [
    libc::SYS_execve,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_pidfd_send_signal,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
];

/// Offset of the first argument's lower half in `seccomp_data`, on a little-endian machine.
const FIRST_ARGUMENT: u32 = 16;

/// The marker, [`ALWAYS`], and this call; or all calls.
#[must_use]
pub fn program(call: Option<libc::c_long>) -> Vec<libc::sock_filter> {
    let hold = notify::answer(libc::SECCOMP_RET_USER_NOTIF);
    let Some(call) = call else {
        return vec![hold];
    };
    let mut program = vec![
        notify::load(0),
        notify::unless_equal(notify::number_of(libc::SYS_prctl), 4),
        notify::load(FIRST_ARGUMENT),
        notify::unless_equal(MARKER, 1),
        hold,
        notify::load(0),
    ];
    for call in ALWAYS.into_iter().chain([call]) {
        program.push(notify::unless_equal(notify::number_of(call), 1));
        program.push(hold);
    }
    program.push(notify::answer(libc::SECCOMP_RET_ALLOW));
    program
}
