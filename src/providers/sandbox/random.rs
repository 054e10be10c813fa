//! A small seeded generator, so that equal scenes give equal pictures on every build and platform.
//!
//! SplitMix64 over an FNV-1a hash: both are fixed public algorithms, which the standard library's hasher does not promise to be.

use super::scene::Scene;

/// A stream of numbers that depends on nothing but where it started.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// The stream of a scene: its prompt, seed and index.
    pub(super) fn of(scene: &Scene) -> Self {
        let fnv =
            |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        let hash = scene
            .prompt
            .as_bytes()
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, fnv);
        let hash = scene.seed.to_le_bytes().iter().fold(hash, fnv);
        Self(scene.index.to_le_bytes().iter().fold(hash, fnv))
    }

    /// An independent stream, so that one layer can change without moving the others.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0.0..1.0`, with 24 bits.
    pub(super) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// A number in `low..high`.
    pub(super) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// Whether an event of this probability happens.
    pub(super) fn chance(&mut self, probability: f32) -> bool {
        self.unit() < probability
    }

    /// One of the choices.
    pub(super) fn pick<T: Copy, const N: usize>(&mut self, choices: [T; N]) -> T {
        choices[(self.next() % N as u64) as usize]
    }
}
