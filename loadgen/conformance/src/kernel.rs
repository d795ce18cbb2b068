//! What the kernel knows about either end of a connection on this machine.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

/// One end of a connection.
#[derive(Debug)]
pub struct End {
    /// Received and not yet read by the process, bytes.
    pub unread: u32,
    /// Sent and not yet acknowledged by the other end, bytes.
    pub unacknowledged: u32,
    /// Of the process's descriptor; 0 before the connection is accepted.
    pub inode: u64,
}

/// The end at `local` of the connection to `peer`; none when it is not here.
pub fn end(local: SocketAddr, peer: SocketAddr) -> Option<End> {
    // The table is long: it lists all connections, and those that closed in the last minute.
    ask(local, peer).or_else(|| look_up(local, peer))
}

/// Asks for the one connection; the layouts are those of `sock_diag(7)`.
fn ask(local: SocketAddr, peer: SocketAddr) -> Option<End> {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const NLM_F_REQUEST: u16 = 1;
    const TCP: u8 = 6;
    const LENGTH: u32 = 72;
    let family = if local.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let mut request = Vec::new();
    request.extend(LENGTH.to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence, sender.
    request.extend([0; 8]);
    request.extend([family as u8, TCP, 0, 0]);
    // In any state.
    request.extend([0xff; 4]);
    request.extend(local.port().to_be_bytes());
    request.extend(peer.port().to_be_bytes());
    request.extend(octets(local.ip()));
    request.extend(octets(peer.ip()));
    // At any interface, without a cookie.
    request.extend([0; 4]);
    request.extend([0xff; 8]);

    let flags = SockFlag::SOCK_CLOEXEC;
    let kernel = socket(
        AddressFamily::Netlink,
        SockType::Datagram,
        flags,
        SockProtocol::NetlinkSockDiag,
    )
    .ok()?;
    send(kernel.as_raw_fd(), &request, MsgFlags::empty()).ok()?;
    let mut answer = [0; 4096];
    let length = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::empty()).ok()?;
    let answer = &answer[..length];
    let number = |at: usize| Some(u32::from_ne_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    let is_found = answer.get(4..6)? == SOCK_DIAG_BY_FAMILY.to_ne_bytes()
        // Without such a connection the answer may be about the listener.
        && answer.get(22..24)? == peer.port().to_be_bytes();
    is_found.then_some(())?;
    Some(End {
        unread: number(72)?,
        unacknowledged: number(76)?,
        inode: number(84)?.into(),
    })
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&address.octets());
            octets
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// Looks for it in the table of all connections, if the kernel cannot be asked for one.
fn look_up(local: SocketAddr, peer: SocketAddr) -> Option<End> {
    let table = if local.is_ipv4() {
        procfs::net::tcp()
    } else {
        procfs::net::tcp6()
    };
    let mut entries = table.ok()?.into_iter();
    let entry = entries.find(|e| e.local_address == local && e.remote_address == peer)?;
    Some(End {
        unread: entry.rx_queue,
        unacknowledged: entry.tx_queue,
        inode: entry.inode,
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::{End, ask, look_up};

    /// The kernel's answer and its table say the same of what is unread and of whether it was accepted.
    #[test]
    fn an_end_is_told_either_way() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A machine may have no IPv6.
            let Ok(listener) = TcpListener::bind(address) else {
                continue;
            };
            let there = listener.local_addr().expect("it is bound");
            let mut client = TcpStream::connect(there).expect("it listens");
            let here = client.local_addr().expect("it is connected");
            client.write_all(b"hello").expect("it is connected");
            let seen = |ask: fn(SocketAddr, SocketAddr) -> Option<End>| {
                ask(there, here).map(|end| (end.unread, end.inode != 0))
            };
            assert_eq!(seen(look_up), Some((5, false)));
            assert!([None, Some((5, false))].contains(&seen(ask)));
            let (mut server, _) = listener.accept().expect("somebody connected");
            server.read_exact(&mut [0; 3]).expect("it was sent");
            assert_eq!(seen(look_up), Some((2, true)));
            assert!([None, Some((2, true))].contains(&seen(ask)));
            let nobody = SocketAddr::new(here.ip(), 1);
            assert!(ask(there, nobody).is_none());
        }
    }
}
