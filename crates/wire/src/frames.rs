//! Several frames in one buffer.

use crate::vnet::VNET_HEADER_LEN;

/// A sequence of frames, one behind the other in a buffer that is used again and again.
#[derive(Debug, Default)]
pub struct Frames {
    bytes: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<usize>,
}

impl Frames {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The frame at this place, virtio-net header included.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let end = *self.ends.get(index)?;
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        Some(&self.bytes[start..end])
    }

    /// The frames in their order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index).unwrap_or_default())
    }

    /// The bytes of IP packet in all of them.
    #[must_use]
    pub fn packet_bytes(&self) -> usize {
        self.bytes.len() - self.len() * VNET_HEADER_LEN
    }

    /// Forgets all frames and keeps the room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Takes the buffer of one frame in the place of all there are, and leaves the own one there.
    pub fn exchange(&mut self, frame: &mut Vec<u8>) {
        std::mem::swap(&mut self.bytes, frame);
        self.ends.clear();
        self.ends.push(self.bytes.len());
    }

    /// Appends the frame that `write` appends to the buffer.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_in_their_order() {
        let mut frames = Frames::default();
        assert!(frames.is_empty());
        frames.push(|out| out.extend([1; 30]));
        frames.push(|out| out.extend([2; 40]));
        assert_eq!(frames.iter().collect::<Vec<_>>(), [&[1; 30][..], &[2; 40]]);
        assert_eq!((frames.packet_bytes(), frames.get(2)), (50, None));

        let mut other = vec![3; 50];
        frames.exchange(&mut other);
        assert_eq!((frames.len(), frames.get(0)), (1, Some(&[3; 50][..])));
        assert_eq!(other.len(), 70);
        frames.clear();
        assert_eq!((frames.get(0), frames.packet_bytes()), (None, 0));
    }
}
