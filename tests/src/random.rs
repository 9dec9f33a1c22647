//! Numbers in no order, to mix cases.

/// A generator whose seed is another one in each run, and is said: whoever sees a case fail can
/// have the same numbers again.
#[must_use]
pub fn random() -> fastrand::Rng {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    fastrand::Rng::with_seed(seed)
}
