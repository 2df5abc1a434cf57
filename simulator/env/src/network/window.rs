//! Whether the other end of a stream has shut its window and still answers, as the kernel tells it (sock_diag(7)). Asked by
//! [`super::Stream::mind_window`]: TCP_USER_TIMEOUT alone ends a stream whose reader pauses, though the reader's machine answers every probe
//! of its window.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
/// `SOCK_DIAG_BY_FAMILY`: the type of the question and of its answer.
const BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
/// Of `struct nlmsghdr`.
const HEADER_LEN: usize = 16;
/// Of the header and `struct inet_diag_req_v2`.
const QUESTION_LEN: usize = HEADER_LEN + 56;
const IPPROTO_TCP: u8 = 6;
/// `idiag_timer`: the timer that runs probes a window that is shut.
const PROBES_WINDOW: u8 = 4;
/// Probes in a row without an answer after which the other end counts as gone; one may be on its way, and one may be lost.
const UNANSWERED_MAX: u8 = 2;

/// What keeps bytes that were written to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Window {
    /// Nothing, or the network: what is sent should be acknowledged soon.
    Open,
    /// The other end has no room, and answers when it is asked for some.
    Shut,
}

/// The window of the stream with these two ends. Takes microseconds: the kernel answers within the call that asks.
///
/// # Errors
/// Where the kernel or a sandbox does not let it be asked, and for a stream that is gone.
pub(super) fn of(local: SocketAddr, peer: SocketAddr) -> io::Result<Window> {
    let socket =
        Socket::new(Domain::from(AF_NETLINK), Type::DGRAM.nonblocking(), Some(Protocol::from(NETLINK_SOCK_DIAG)))?;
    socket.send(&question(local, peer))?;
    // The answer without attributes is 88 bytes, an error 36 and the question.
    let mut answer = [0; 256];
    let len = (&socket).read(&mut answer)?;
    read(&answer[..len])
}

fn question(local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    let (family, v6_only_zeros) = match local.ip() {
        IpAddr::V4(_) => (2, 12),
        IpAddr::V6(_) => (10, 0),
    };
    let mut bytes = Vec::with_capacity(QUESTION_LEN);
    let len = u32::try_from(QUESTION_LEN).expect("72");
    bytes.extend(len.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    // Sequence number and port id: one question a socket.
    bytes.extend([0; 8]);
    // No attributes, and padding.
    bytes.extend([family, IPPROTO_TCP, 0, 0]);
    // In whatever state.
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(peer.port().to_be_bytes());
    for end in [local.ip(), peer.ip()] {
        match end {
            IpAddr::V4(ip) => bytes.extend(ip.octets()),
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
        bytes.resize(bytes.len() + v6_only_zeros, 0);
    }
    // Any interface, and no cookie.
    bytes.extend([0; 4]);
    bytes.extend([0xff; 8]);
    bytes
}

fn read(answer: &[u8]) -> io::Result<Window> {
    let unknown = || io::Error::from(io::ErrorKind::InvalidData);
    let kind = answer.get(4..6).map(|kind| [kind[0], kind[1]]).ok_or_else(unknown)?;
    if u16::from_ne_bytes(kind) != BY_FAMILY {
        return Err(unknown());
    }
    let &[_family, _state, timer, unanswered] = answer.get(HEADER_LEN..HEADER_LEN + 4).ok_or_else(unknown)? else {
        return Err(unknown());
    };
    let is_shut = timer == PROBES_WINDOW && unanswered <= UNANSWERED_MAX;
    Ok(if is_shut { Window::Shut } else { Window::Open })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_window_whose_probes_are_answered_counts_as_shut() {
        let answer = |kind: u16, timer: u8, unanswered: u8| {
            let mut bytes = vec![0; 88];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes[HEADER_LEN..HEADER_LEN + 4].copy_from_slice(&[2, 1, timer, unanswered]);
            read(&bytes).ok()
        };
        assert_eq!(answer(BY_FAMILY, 4, 0), Some(Window::Shut));
        assert_eq!(answer(BY_FAMILY, 4, 2), Some(Window::Shut));
        assert_eq!(answer(BY_FAMILY, 4, 3), Some(Window::Open), "nobody answers");
        assert_eq!(answer(BY_FAMILY, 1, 2), Some(Window::Open), "sent again");
        assert_eq!(answer(2, 4, 0), None, "an error");
        assert!(read(&[]).is_err() && read(&[0, 0, 0, 0, 20, 0]).is_err());
    }

    #[test]
    fn a_question_has_the_length_it_says() {
        for (local, peer) in [("127.0.0.1:1", "127.0.0.2:2"), ("[::1]:1", "[::2]:2")] {
            let (local, peer) = (local.parse().unwrap(), peer.parse().unwrap());
            assert_eq!(question(local, peer).len(), QUESTION_LEN);
        }
    }
}
