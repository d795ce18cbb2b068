//! The request of the mode `raw`, and where its answer ends.

/// The same bytes for each request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RawRequest {
    /// What is sent; may be empty where the server speaks first and each request makes its own connection.
    pub send: Vec<u8>,
    /// Where the answer ends.
    pub answer: RawAnswer,
    /// Keep the connection for the next request; otherwise one connection for each.
    pub keep_alive: bool,
}

/// Where an answer ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RawAnswer {
    /// The answer must be these bytes, at least one. Any other byte is wrong.
    Exactly(Vec<u8>),
    /// With the first occurrence of these bytes, at least one.
    Until(Vec<u8>),
    /// After this many bytes, at least 1.
    Bytes(usize),
}

impl Default for RawAnswer {
    fn default() -> Self {
        Self::Bytes(1)
    }
}

/// The bytes of a text in which `\r`, `\n`, `\t`, `\0`, `\\` and `\xNN` stand for others.
///
/// # Errors
/// Which escape is not known.
pub fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            bytes.extend(character.encode_utf8(&mut [0; 4]).bytes());
            continue;
        }
        bytes.push(match rest.next() {
            Some('r') => b'\r',
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('0') => 0,
            Some('\\') => b'\\',
            Some('x') => {
                let digits: String = rest.by_ref().take(2).collect();
                let is_hex =
                    digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                match u8::from_str_radix(&digits, 16) {
                    Ok(byte) if is_hex => byte,
                    _ => {
                        return Err(format!(
                            "`\\x{digits}` must be \\x and two hexadecimal digits"
                        ));
                    }
                }
            }
            Some(other) => {
                return Err(format!(
                    "`\\{other}` is not known: there are \\r \\n \\t \\0 \\\\ and \\xNN"
                ));
            }
            None => return Err("it ends with a \\: a backslash itself is \\\\".to_owned()),
        });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_stand_for_bytes() {
        assert_eq!(unescape(r"PING\r\n").unwrap(), b"PING\r\n");
        assert_eq!(
            unescape(r"\x00\xfF\0\t\\ü").unwrap(),
            b"\x00\xff\0\t\\\xc3\xbc"
        );
        assert_eq!(unescape("").unwrap(), b"");
        for (text, hint) in [
            (r"\q", r"`\q` is not known"),
            (r"\x4", "two hexadecimal digits"),
            (r"\x+1", "two hexadecimal digits"),
            (r"\xäö", "two hexadecimal digits"),
            ("a\\", "a backslash itself"),
        ] {
            let error = unescape(text).unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
