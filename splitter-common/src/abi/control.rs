//! What a packet reads first: the generation, and where the directories are.

/// The one word that a packet reads first: the generation's number, and in its lowest bit the live side.
///
/// The program uses the lowest bit alone. It lies in one byte, so even a copy that is not atomic over the word
/// (`memcpy` in `array_map_update_elem`, kernel/bpf/arraymap.c) cannot tear what a packet decides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Word(u64);

impl Word {
    /// Generation and side.
    pub const fn new(generation: u64, side: u32) -> Self {
        Self(generation << 1 | (side & 1) as u64)
    }

    /// From the map.
    #[inline(always)]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// For the map.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Number of the live configuration.
    pub const fn generation(self) -> u64 {
        self.0 >> 1
    }

    /// The live side, 0 or 1.
    #[inline(always)]
    pub const fn side(self) -> u32 {
        (self.0 & 1) as u32
    }
}

/// Seeds and sizes of one side's directories.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Side {
    /// Seed of the endpoint directory.
    pub endpoint_seed: u64,
    /// Seed of the neighbour directory.
    pub neighbour_seed: u64,
    /// Buckets of the endpoint directory, less one.
    pub endpoint_bucket_mask: u32,
    /// Positions of the endpoint directory, less one.
    pub endpoint_position_mask: u32,
    /// Buckets of the neighbour directory, less one.
    pub neighbour_bucket_mask: u32,
    /// Positions of the neighbour directory, less one.
    pub neighbour_position_mask: u32,
}

/// What a packet reads first. Only the word decides; the idle side's half is written before it.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Control {
    /// The generation and the live side.
    pub word: Word,
    /// Both sides.
    pub sides: [Side; 2],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_carries_generation_and_side() {
        let word = Word::new(41, 1);
        assert_eq!((word.generation(), word.side(), word.raw()), (41, 1, 83));
    }
}
