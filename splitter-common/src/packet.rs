//! Bytes of a frame, behind a trait, so that one packet logic serves the kernel and the host.

/// A frame that starts with its Ethernet header.
///
/// `at` counts bytes from the start of the frame. Every access is checked against the end of the frame and
/// answers `None` beyond it. `N` is a constant, as the kernel's verifier wants it.
pub trait Packet {
    /// Length of the whole frame, bytes; of a multi-buffer frame, all buffers.
    fn length(&self) -> usize;

    /// Copies `N` bytes out of the frame.
    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]>;

    /// Overwrites `N` bytes of the frame.
    fn store<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Option<()>;

    /// The same position, of which the kernel's verifier then knows nothing: ways through a program that differ in a
    /// position alone become one to it.
    #[inline(always)]
    fn forget(&self, position: usize) -> usize {
        position
    }
}

/// A frame whose ends can be moved. Everything that was known of positions is void afterwards.
pub trait Resize: Packet {
    /// Makes room for `bytes` more in front of the frame; their content is anything.
    fn grow_front(&mut self, bytes: usize) -> Option<()>;

    /// Cuts the end off, so that `length` bytes remain.
    fn truncate(&mut self, length: usize) -> Option<()>;
}

#[cfg(any(test, feature = "user"))]
impl Packet for std::vec::Vec<u8> {
    fn length(&self) -> usize {
        self.len()
    }

    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.as_slice().load(at)
    }

    fn store<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Option<()> {
        self.as_mut_slice().store(at, bytes)
    }
}

#[cfg(any(test, feature = "user"))]
impl Resize for std::vec::Vec<u8> {
    fn grow_front(&mut self, bytes: usize) -> Option<()> {
        self.splice(..0, std::iter::repeat_n(0, bytes));
        Some(())
    }

    fn truncate(&mut self, length: usize) -> Option<()> {
        Self::truncate(self, length);
        Some(())
    }
}

impl Packet for [u8] {
    fn length(&self) -> usize {
        self.len()
    }

    fn load<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn store<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> Option<()> {
        self.get_mut(at..at.checked_add(N)?)?.copy_from_slice(&bytes);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_and_stores_inside_only() {
        let mut bytes = [1u8, 2, 3, 4];
        let frame: &mut [u8] = &mut bytes;
        assert_eq!(frame.load::<2>(2), Some([3, 4]));
        assert_eq!(frame.load::<2>(3), None);
        assert_eq!(frame.load::<1>(usize::MAX), None);
        assert_eq!(frame.store(3, [9u8, 9]), None);
        assert_eq!(frame.store(2, [7u8, 8]), Some(()));
        assert_eq!(bytes, [1, 2, 7, 8]);
    }
}
