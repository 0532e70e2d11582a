//! An input of the targets that take frames: two bytes that choose a scenario, whose setting is found; then either one
//! frame, or frames with their length, two bytes each, in front.

/// What an input says.
pub struct Input {
    /// Chooses the scenario.
    pub scenario: u16,
    /// The frames, in order.
    pub frames: Vec<Vec<u8>>,
}

/// Most frames of an input.
const FRAMES: usize = 16;

/// Most bytes of a frame.
const FRAME: usize = 1514;

impl Input {
    /// Out of bytes; `None` if there are too few.
    pub fn read(bytes: &[u8], single: bool) -> Option<Self> {
        let (scenario, rest) = bytes.split_first_chunk::<2>()?;
        let frames = if single { vec![rest[..rest.len().min(FRAME)].to_vec()] } else { several(rest) };
        Some(Self { scenario: u16::from_be_bytes(*scenario), frames })
    }

    /// As bytes.
    pub fn write(&self, single: bool) -> Vec<u8> {
        let mut bytes = self.scenario.to_be_bytes().to_vec();
        for frame in &self.frames {
            if !single {
                bytes.extend((frame.len() as u16).to_be_bytes());
            }
            bytes.extend(frame);
        }
        bytes
    }
}

fn several(mut rest: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(behind.len()).min(FRAME);
        let (frame, behind) = behind.split_at(length);
        frames.push(frame.to_vec());
        rest = behind;
        if frames.len() == FRAMES {
            break;
        }
    }
    frames
}

/// What stands for a scenario in an input: new scenarios leave it as it is (FNV-1a, folded).
pub fn number(name: &str) -> u16 {
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash ^ hash >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let frames = vec![vec![1, 2, 3], vec![], vec![4; 300]];
        let input = Input { scenario: 0x1234, frames: frames.clone() };
        let read = Input::read(&input.write(false), false).unwrap();
        assert_eq!((read.scenario, read.frames), (0x1234, frames));
    }

    #[test]
    fn a_length_beyond_the_end_takes_what_is_there() {
        assert_eq!(several(&[0xff, 0xff, 7]), [vec![7]]);
    }
}
