//! The PROXY protocol, version 2 (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>): a header before the bytes of a stream that
//! says where it comes from. Written to applications that asked for it, read from balancers in front of a bound port.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED_LEN: usize = 16;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPEC: u8 = 0x00;
const TCP_OVER_V4: u8 = 0x11;
const TCP_OVER_V6: u8 = 0x21;
const V4_LEN: usize = 12;
const V6_LEN: usize = 36;
/// Type and length of one more value.
const VALUE_HEAD_LEN: usize = 3;
/// CRC32C of the header with zeros in its place: a receiver that knows it must check it.
const TYPE_CRC32C: u8 = 0x03;
/// The SPIFFE id that the caller proved. The first of the types 0xE0 to 0xEF, which are left to applications.
const TYPE_IDENTITY: u8 = 0xe0;
/// Longest SPIFFE id (SPIFFE-ID, section 2.3).
const IDENTITY_LEN_MAX: usize = 2048;
/// Longest header that is read. The specification promises 536 bytes to work anywhere; balancers of clouds stay below.
const LEN_MAX: usize = 1024;

/// Both ends of a stream as its header tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    /// Where it comes from.
    pub(crate) source: SocketAddr,
    /// Where it was accepted.
    pub(crate) destination: SocketAddr,
}

/// The header of a stream between these ends whose caller proved this identity.
pub(crate) fn header(ends: Ends, identity: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FIXED_LEN + V6_LEN + VALUE_HEAD_LEN + identity.len());
    bytes.extend(SIGNATURE);
    bytes.push(PROXY);
    let (source, destination) = (ends.source.ip().to_canonical(), ends.destination.ip().to_canonical());
    let identity = &identity.as_bytes()[..identity.len().min(IDENTITY_LEN_MAX)];
    let (family, ends_len) = match (source, destination) {
        (IpAddr::V4(_), IpAddr::V4(_)) => (TCP_OVER_V4, V4_LEN),
        _ => (TCP_OVER_V6, V6_LEN),
    };
    bytes.push(family);
    let length = |len: usize| u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
    bytes.extend(length(ends_len + VALUE_HEAD_LEN + identity.len()));
    for ip in [source, destination] {
        match ip {
            IpAddr::V4(ip) if family == TCP_OVER_V4 => bytes.extend(ip.octets()),
            IpAddr::V4(ip) => bytes.extend(ip.to_ipv6_mapped().octets()),
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
    }
    bytes.extend(ends.source.port().to_be_bytes());
    bytes.extend(ends.destination.port().to_be_bytes());
    bytes.push(TYPE_IDENTITY);
    bytes.extend(length(identity.len()));
    bytes.extend(identity);
    bytes
}

/// Reads a header and no byte behind it. None is the balancer's own connection, such as its probe, or one whose ends it does not tell. It has
/// no timeout of its own.
///
/// # Errors
/// `InvalidData` for what is no header, or one that is wrong or too long.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Ends>> {
    let mut bytes = [0; LEN_MAX];
    stream.read_exact(&mut bytes[..FIXED_LEN]).await?;
    let len = announced(&bytes[..FIXED_LEN]).map_err(wrong)?;
    stream.read_exact(&mut bytes[FIXED_LEN..len]).await?;
    parsed(&bytes[..len]).map_err(wrong)
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no PROXY header of version 2: {why}"))
}

/// How long the whole header is that begins so.
fn announced(fixed: &[u8]) -> Result<usize, &'static str> {
    let Some((signature, &[command, family, high, low])) = fixed.split_last_chunk() else {
        return Err("it is cut short");
    };
    if fixed.starts_with(b"PROXY ") {
        return Err("it is one of version 1");
    }
    if signature != SIGNATURE {
        return Err("it does not begin like one");
    }
    let ends_len = match (command, family) {
        (LOCAL, UNSPEC | TCP_OVER_V4 | TCP_OVER_V6) | (PROXY, UNSPEC) => 0,
        (PROXY, TCP_OVER_V4) => V4_LEN,
        (PROXY, TCP_OVER_V6) => V6_LEN,
        (LOCAL | PROXY, _) => return Err("it is not of TCP"),
        _ => return Err("its version or command is unknown"),
    };
    let rest = usize::from(u16::from_be_bytes([high, low]));
    if rest < ends_len {
        return Err("it is shorter than its addresses");
    }
    let len = FIXED_LEN + rest;
    if len > LEN_MAX { Err("it is longer than 1024 bytes") } else { Ok(len) }
}

/// The ends in a whole header.
fn parsed(header: &[u8]) -> Result<Option<Ends>, &'static str> {
    let Some((fixed, rest)) = header.split_at_checked(FIXED_LEN) else { return Err("it is cut short") };
    if announced(fixed)? != header.len() {
        return Err("its length is another");
    }
    let (ends, values) = match (fixed[12], fixed[13]) {
        (PROXY, TCP_OVER_V4) => ends_v4(rest)?,
        (PROXY, TCP_OVER_V6) => ends_v6(rest)?,
        // Whatever stands there, nobody is to look at.
        _ => return Ok(None),
    };
    check_values(header, values)?;
    Ok(Some(ends))
}

fn ends_v4(rest: &[u8]) -> Result<(Ends, &[u8]), &'static str> {
    let Some((&[a, b, c, d, e, f, g, h, from_high, from_low, to_high, to_low], values)) = rest.split_first_chunk()
    else {
        return Err("it is shorter than its addresses");
    };
    let ips = [Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h)].map(IpAddr::V4);
    Ok((ends(ips, [[from_high, from_low], [to_high, to_low]]), values))
}

fn ends_v6(rest: &[u8]) -> Result<(Ends, &[u8]), &'static str> {
    let short = "it is shorter than its addresses";
    let (source, rest) = rest.split_first_chunk::<16>().ok_or(short)?;
    let (destination, rest) = rest.split_first_chunk::<16>().ok_or(short)?;
    let (&[from_high, from_low, to_high, to_low], values) = rest.split_first_chunk().ok_or(short)?;
    let ips = [*source, *destination].map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
    Ok((ends(ips, [[from_high, from_low], [to_high, to_low]]), values))
}

fn ends(ips: [IpAddr; 2], ports: [[u8; 2]; 2]) -> Ends {
    let [source, destination] =
        [0, 1].map(|end| SocketAddr::new(ips[end].to_canonical(), u16::from_be_bytes(ports[end])));
    Ends { source, destination }
}

/// Values must fill the header to its last byte; a checksum among them must be right.
fn check_values(header: &[u8], mut values: &[u8]) -> Result<(), &'static str> {
    while let Some((&[kind, high, low], rest)) = values.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([high, low]));
        let (value, rest) = rest.split_at_checked(len).ok_or("a value is longer than it")?;
        if kind == TYPE_CRC32C {
            let stated: [u8; 4] = value.try_into().map_err(|_| "its checksum is not of 4 bytes")?;
            let at = header.len() - rest.len() - stated.len();
            if crc32c(header, at) != u32::from_be_bytes(stated) {
                return Err("its checksum is wrong");
            }
        }
        values = rest;
    }
    if values.is_empty() { Ok(()) } else { Err("a value is cut short") }
}

/// CRC32C (RFC 3720, appendix B.4), with four zeros at `zeros_at`. Bit by bit: of 1,024 bytes, once a stream.
fn crc32c(bytes: &[u8], zeros_at: usize) -> u32 {
    let mut sum = u32::MAX;
    for (at, byte) in bytes.iter().enumerate() {
        let byte = if (zeros_at..zeros_at + 4).contains(&at) { 0 } else { *byte };
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 };
        }
    }
    !sum
}

#[cfg(test)]
mod tests;
