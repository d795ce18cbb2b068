//! A foreign server's arguments say by `{port}` or `{addr}` where it is to listen.

use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use socket2::{Domain, Socket, Type};

const PORT: &str = "{port}";
const ADDRESS: &str = "{addr}";

/// Whether a word of a command contains `{port}` or `{addr}`.
pub fn has_placeholder(word: &OsStr) -> bool {
    let word = word.to_string_lossy();
    word.contains(PORT) || word.contains(ADDRESS)
}

/// The command with the address in place of `{addr}` and its port in place of `{port}`.
pub fn fill<W: AsRef<OsStr>>(command: &[W], address: SocketAddr) -> Vec<OsString> {
    let fill = |word: &W| {
        let word = word.as_ref();
        if !has_placeholder(word) {
            return word.to_owned();
        }
        let word = word.to_string_lossy();
        word.replace(ADDRESS, &address.to_string())
            .replace(PORT, &address.port().to_string())
            .into()
    };
    command.iter().map(fill).collect()
}

/// A free port of 127.0.0.1 that this process has not returned before.
///
/// The kernel takes the ports of clients from a higher range, so no client takes this one before the server does.
///
/// # Panics
/// When no port of the range is free.
pub fn free_address() -> SocketAddr {
    const PORTS: std::ops::Range<u32> = 10_000..32_000;
    static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(rand::random_range(PORTS)));
    let addresses = PORTS.map(|_| {
        let port = PORTS.start + NEXT.fetch_add(1, Relaxed) % PORTS.len() as u32;
        SocketAddr::from((Ipv4Addr::LOCALHOST, port as u16))
    });
    // Without SO_REUSEADDR, which the server may not set either.
    let is_free = |address: &SocketAddr| {
        Socket::new(Domain::IPV4, Type::STREAM, None)
            .and_then(|socket| socket.bind(&(*address).into()))
            .is_ok()
    };
    let mut free = addresses.filter(is_free);
    free.next().expect("the loopback has a free port")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_placeholders_are_filled_wherever_they_stand() {
        let address = SocketAddr::from(([127, 0, 0, 1], 7001));
        let command = ["socat", "TCP-LISTEN:{port},fork", "{addr}", "{other}"];
        let filled = fill(&command, address);
        assert_eq!(
            filled,
            ["socat", "TCP-LISTEN:7001,fork", "127.0.0.1:7001", "{other}"]
        );
        let placed: Vec<_> = command
            .iter()
            .map(|w| has_placeholder(w.as_ref()))
            .collect();
        assert_eq!(placed, [false, true, true, false]);
    }
}
