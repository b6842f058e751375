//! The binary form of `numeric`. Uses: nothing.

use std::fmt::Write as _;

/// The number in decimal, with all digits after the point that the value has; `None` if the bytes are not a number.
///
/// The form (`numeric_send` in PostgreSQL's `numeric.c`): four words of two bytes, which are the count of digits
/// to the base 10,000, the place of the first one, the sign, and how many decimal digits follow the point; then the
/// digits.
pub(super) fn numeric(raw: &[u8]) -> Option<String> {
    // What the sign's word can be.
    const POSITIVE: u16 = 0;
    const NEGATIVE: u16 = 0x4000;
    const NAN: u16 = 0xc000;
    const INFINITY: u16 = 0xd000;
    const NEGATIVE_INFINITY: u16 = 0xf000;

    let (words, rest) = raw.as_chunks::<2>();
    let [count, weight, sign, scale, digits @ ..] = words else { return None };
    let digits: Vec<u16> = digits.iter().map(|digit| u16::from_be_bytes(*digit)).collect();
    let whole = usize::from(u16::from_be_bytes(*count)) == digits.len() && rest.is_empty();
    if !whole || digits.iter().any(|digit| *digit > 9999) {
        return None;
    }
    let mut text = String::new();
    match u16::from_be_bytes(*sign) {
        POSITIVE => {}
        NEGATIVE => text.push('-'),
        NAN => return Some("NaN".into()),
        INFINITY => return Some("Infinity".into()),
        NEGATIVE_INFINITY => return Some("-Infinity".into()),
        _ => return None,
    }
    let weight = i32::from(i16::from_be_bytes(*weight));
    // The digit that counts 10,000 to the power of `place`; the digits that are not sent are zero.
    let digit = |place: i32| {
        usize::try_from(weight - place).ok().and_then(|index| digits.get(index)).copied().unwrap_or(0)
    };
    // Writing to a String does not fail.
    let _ = write!(text, "{}", digit(weight.max(0)));
    for place in (0..weight.max(0)).rev() {
        let _ = write!(text, "{:04}", digit(place));
    }
    let scale = usize::from(u16::from_be_bytes(*scale));
    if scale > 0 {
        text.push('.');
        let end = text.len() + scale;
        let mut place = -1;
        while text.len() < end {
            let _ = write!(text, "{:04}", digit(place));
            place -= 1;
        }
        text.truncate(end);
    }
    Some(text)
}
