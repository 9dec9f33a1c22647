//! Every order in which clones of a handle can learn a status at once. Run by `cargo xtask loom`.

use loom::sync::Arc;
use loom::thread;

use super::CachedStatus;
use crate::status::Status;

#[test]
fn of_two_who_learn_at_once_one_is_believed_by_both() {
    loom::model(|| {
        let cached = Arc::new(CachedStatus::default());
        let theirs = Arc::clone(&cached);
        let other = thread::spawn(move || {
            theirs.set(Status {
                raw: 0x900,
                ours: false,
            });
            theirs.get().unwrap().raw
        });
        cached.set(Status {
            raw: 0x600,
            ours: true,
        });
        let believed = cached.get().unwrap();
        assert!(believed.ours);
        assert_eq!(believed.raw, other.join().unwrap());
        assert_eq!(cached.get(), Some(believed));
    });
}

#[test]
fn child_of_ours_stays_so_while_another_learns_its_status_as_a_stranger() {
    loom::model(|| {
        let cached = Arc::new(CachedStatus::default());
        let theirs = Arc::clone(&cached);
        let other = thread::spawn(move || theirs.set_ours());
        cached.set(Status {
            raw: 9,
            ours: false,
        });
        other.join().unwrap();
        assert_eq!(cached.get(), Some(Status { raw: 9, ours: true }));
    });
}
