//! Numbers in no order: enough to mix cases, and whoever sees one fail can have the same ones again.

/// xorshift64.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed that is another one in each run, and is said.
    #[allow(clippy::new_without_default, reason = "it prints")]
    pub fn new() -> Random {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let seed = now.map_or(1, |now| now.subsec_nanos().into());
        eprintln!("seed {seed}");
        Random::seeded(seed)
    }

    pub fn seeded(seed: u64) -> Random {
        // Zero stays zero.
        Random(seed | 1)
    }

    #[allow(clippy::should_implement_trait, reason = "never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next()).expect("64 bits") % bound
    }
}
