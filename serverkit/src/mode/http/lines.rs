//! What holds for the lines of a head and for those of a trailer section.

/// The longest head, in bytes, and the longest trailer section.
pub const HEAD_LIMIT: usize = 8 * 1024;

/// The most fields of a head, and of a trailer section.
pub const FIELD_LIMIT: usize = 64;

/// A line ends without CR. httparse lets it pass; a proxy in front may see one line where it
/// sees two.
pub fn has_bare_newline(lines: &[u8]) -> bool {
    let is_bare = |(before, byte): (&u8, &u8)| *before != b'\r' && *byte == b'\n';
    // `fold` goes to the end in any case, so that the compiler takes many bytes at a time.
    lines.first() == Some(&b'\n')
        || lines
            .iter()
            .zip(lines.iter().skip(1))
            .fold(false, |found, pair| found | is_bare(pair))
}
