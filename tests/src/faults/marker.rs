//! What a program under test says to the injector, by a system call that nobody else makes.

/// The first argument of prctl(2): none of the kernel's.
pub const MARKER: u32 = 0x4641_554c;

/// From when on, and in whom, a fault is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// In this thread, and in all threads and processes that are made later than it.
    Arm,
    /// In all threads and processes that are made later than this one.
    ArmOthers,
    /// In nobody any more.
    Disarm,
    /// This process counts: it has executed a program, which takes it out unless it says so.
    Include,
}

impl Marker {
    const ALL: [Marker; 4] = [
        Marker::Arm,
        Marker::ArmOthers,
        Marker::Disarm,
        Marker::Include,
    ];

    /// Says it. Without an injector nobody hears it.
    pub fn say(self) {
        // SAFETY: prctl(2) with an option that the kernel does not know has no effect.
        unsafe { libc::prctl(MARKER.cast_signed(), self as libc::c_ulong, 0, 0, 0) };
    }

    /// What was said.
    #[must_use]
    pub fn heard(argument: u64) -> Option<Marker> {
        let index = usize::try_from(argument).ok()?;
        Marker::ALL.get(index).copied()
    }
}
