//! Writing DER: just what a certificate has.

/// NULL.
pub const NULL: [u8; 2] = [0x05, 0x00];

/// A value with its tag and length.
pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            let bytes = bytes.get(zeros..).unwrap_or_default();
            // At most eight.
            out.push(0x80 | u8::try_from(bytes.len()).unwrap_or_default());
            out.extend_from_slice(bytes);
        }
    }
    out.extend_from_slice(content);
    out
}

/// SEQUENCE of what is encoded already.
pub fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &parts.concat())
}

/// INTEGER from big-endian bytes that are not negative.
pub fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let bytes = bytes.get(zeros..).unwrap_or_default();
    match bytes.first() {
        None => tlv(0x02, &[0]),
        Some(first) if first & 0x80 != 0 => tlv(0x02, &[&[0], bytes].concat()),
        Some(_) => tlv(0x02, bytes),
    }
}

/// OBJECT IDENTIFIER. The first arc is at most 2.
pub fn oid(arcs: &[u32]) -> Vec<u8> {
    let (first, second) = (
        arcs.first().copied().unwrap_or_default(),
        arcs.get(1).copied().unwrap_or_default(),
    );
    let mut content = Vec::new();
    base128(
        first.saturating_mul(40).saturating_add(second),
        &mut content,
    );
    for arc in arcs.iter().skip(2) {
        base128(*arc, &mut content);
    }
    tlv(0x06, &content)
}

fn base128(value: u32, out: &mut Vec<u8>) {
    let groups = [28, 21, 14, 7, 0].map(|shift| (value >> shift) as u8 & 0x7f);
    let first = groups[..4].iter().take_while(|group| **group == 0).count();
    for (at, group) in groups.iter().enumerate().skip(first) {
        out.push(if at == 4 { *group } else { group | 0x80 });
    }
}

/// OCTET STRING.
pub fn octets(content: &[u8]) -> Vec<u8> {
    tlv(0x04, content)
}

/// BIT STRING of whole bytes.
pub fn bits(content: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[0], content].concat())
}

/// BIT STRING of named bits, the first of them the lowest of `set`: no zeros at the end.
pub fn named_bits(set: u16) -> Vec<u8> {
    let reversed = set.reverse_bits();
    let length = 16u32.saturating_sub(reversed.trailing_zeros());
    let bytes = reversed.to_be_bytes();
    let used = length.div_ceil(8) as usize;
    let unused = (used as u32).saturating_mul(8).saturating_sub(length) as u8;
    let content = bytes.get(..used).unwrap_or_default();
    tlv(0x03, &[&[unused], content].concat())
}

/// UTCTime, and GeneralizedTime from 2050 on (RFC 5280, 4.1.2.5).
pub fn time(time: jiff::Timestamp) -> Vec<u8> {
    let year = time.to_zoned(jiff::tz::TimeZone::UTC).year();
    if (1950..2050).contains(&year) {
        tlv(0x17, time.strftime("%y%m%d%H%M%SZ").to_string().as_bytes())
    } else {
        tlv(0x18, time.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes())
    }
}

/// An extension of a certificate.
pub fn extension(arcs: &[u32], critical: bool, value: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if critical { &[0x01, 0x01, 0xff] } else { &[] };
    sequence(&[&oid(arcs), critical, &octets(value)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_have_their_shortest_form() {
        assert_eq!(tlv(0x04, &[7; 3]), [0x04, 3, 7, 7, 7]);
        assert_eq!(tlv(0x04, &[0; 0x80])[..3], [0x04, 0x81, 0x80]);
        assert_eq!(tlv(0x04, &[0; 0x1234])[..4], [0x04, 0x82, 0x12, 0x34]);
        assert_eq!(unsigned(&[0, 0, 0x80]), [0x02, 2, 0, 0x80]);
        assert_eq!(unsigned(&[0, 0x7f]), [0x02, 1, 0x7f]);
        assert_eq!(unsigned(&[]), [0x02, 1, 0]);
        assert_eq!(oid(&[2, 5, 29, 15]), [0x06, 3, 0x55, 29, 15]);
        assert_eq!(
            oid(&[1, 2, 840, 10045, 4, 3, 2]),
            [0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]
        );
        assert_eq!(named_bits(0b1), [0x03, 2, 7, 0x80]);
        assert_eq!(named_bits(0b101), [0x03, 2, 5, 0xa0]);
        assert_eq!(named_bits(1 << 8), [0x03, 3, 7, 0, 0x80]);
        let at = |text: &str| time(text.parse().unwrap());
        assert_eq!(at("2049-12-31T23:59:59Z"), b"\x17\x0d491231235959Z");
        assert_eq!(at("2050-01-01T00:00:00Z"), b"\x18\x0f20500101000000Z");
    }
}
