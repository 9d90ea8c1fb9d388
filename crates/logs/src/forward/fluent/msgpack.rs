//! As much of MessagePack as the Forward protocol needs to be written.

/// Lengths that are too long for the format are cut: nothing here is as long as that.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    pub fn array(&mut self, length: usize) {
        self.length(length, 0x90, 15, [None, Some(0xdc), Some(0xdd)]);
    }

    pub fn map(&mut self, length: usize) {
        self.length(length, 0x80, 15, [None, Some(0xde), Some(0xdf)]);
    }

    pub fn string(&mut self, text: &str) {
        self.text(text.as_bytes());
    }

    /// Text that may not be UTF-8; who reads it sees to that.
    pub fn text(&mut self, text: &[u8]) {
        self.length(text.len(), 0xa0, 31, [Some(0xd9), Some(0xda), Some(0xdb)]);
        self.0.extend_from_slice(text);
    }

    pub fn binary(&mut self, bytes: &[u8]) {
        self.length(bytes.len(), 0, -1, [Some(0xc4), Some(0xc5), Some(0xc6)]);
        self.0.extend_from_slice(bytes);
    }

    pub fn unsigned(&mut self, value: u64) {
        match u8::try_from(value) {
            Ok(small @ 0..=0x7f) => self.0.push(small),
            _ => {
                self.0.push(0xcf);
                self.0.extend(value.to_be_bytes());
            }
        }
    }

    /// The protocol's `EventTime`: seconds and nanoseconds, each of 32 bits.
    pub fn event_time(&mut self, nanos: i64) {
        const NANOS_PER_SECOND: i64 = 1_000_000_000;
        let seconds = u32::try_from(nanos.div_euclid(NANOS_PER_SECOND)).unwrap_or(u32::MAX);
        let rest = u32::try_from(nanos.rem_euclid(NANOS_PER_SECOND)).unwrap_or(0);
        self.0.extend([0xd7, 0x00]);
        self.0.extend(seconds.to_be_bytes());
        self.0.extend(rest.to_be_bytes());
    }

    /// Marks with a length: `small` with it in itself up to `max`, else those with lengths of 8, 16 and 32 bits.
    fn length(&mut self, length: usize, small: u8, max: i8, marks: [Option<u8>; 3]) {
        let [byte, short, long] = marks;
        if i8::try_from(length).is_ok_and(|length| length <= max) {
            return self.0.push(small | length as u8);
        }
        if let (Some(mark), Ok(length)) = (byte, u8::try_from(length)) {
            return self.0.extend([mark, length]);
        }
        if let (Some(mark), Ok(length)) = (short, u16::try_from(length)) {
            self.0.push(mark);
            return self.0.extend(length.to_be_bytes());
        }
        if let Some(mark) = long {
            self.0.push(mark);
            let length = u32::try_from(length).unwrap_or(u32::MAX);
            self.0.extend(length.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::default();
        write(&mut writer);
        writer.finish()
    }

    #[test]
    fn lengths_have_the_shortest_form() {
        for (length, wanted) in [
            (0, &[0xa0][..]),
            (31, &[0xbf]),
            (32, &[0xd9, 32]),
            (255, &[0xd9, 255]),
            (256, &[0xda, 1, 0]),
            (65_535, &[0xda, 255, 255]),
            (65_536, &[0xdb, 0, 1, 0, 0]),
        ] {
            let bytes = written(|w| w.text(&vec![b'x'; length]));
            assert_eq!(&bytes[..bytes.len() - length], wanted, "{length}");
        }
        assert_eq!(written(|w| w.array(3)), [0x93]);
        assert_eq!(written(|w| w.map(16)), [0xde, 0, 16]);
        assert_eq!(written(|w| w.binary(b"a")), [0xc4, 1, b'a']);
        assert_eq!(written(|w| w.unsigned(127)), [127]);
        assert_eq!(
            written(|w| w.unsigned(128)),
            [0xcf, 0, 0, 0, 0, 0, 0, 0, 128]
        );
        assert_eq!(
            written(|w| w.event_time(1_000_000_002)),
            [0xd7, 0, 0, 0, 0, 1, 0, 0, 0, 2]
        );
    }
}
