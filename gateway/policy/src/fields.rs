//! The header fields of a message, as every version of HTTP brings them: one text, and where each name and value lies in it.
//!
//! Names are lower case. Adding appends to the text, removing forgets a place: a head that was received is neither copied field by field
//! nor hashed, and whoever assembles the head that is sent on walks the list. Lookups of names in [`Known`] cost one bit where the name
//! is absent, which is what nearly every lookup on the way of a request finds.

/// Header fields in the order in which they came.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    text: Vec<u8>,
    list: Vec<Field>,
    /// Which known names occur: a bit each; set bits may outlive a removal, never the other way round.
    known: u64,
}

#[derive(Debug, Clone, Copy)]
struct Field {
    known: Known,
    name_len: u16,
    at: u32,
    value_at: u32,
    value_len: u32,
}

macro_rules! known {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A name that the data path looks for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Known {
            $(#[doc = concat!("`", $name, "`")] $variant,)+
            /// Any other name.
            Other,
        }

        impl Known {
            /// What a name in lower case is.
            #[inline]
            pub fn of(name: &[u8]) -> Self {
                $(const $variant: &[u8] = $name.as_bytes();)+
                #[allow(non_upper_case_globals, reason = "the variants name the constants")]
                match name {
                    $($variant => Self::$variant,)+
                    _ => Self::Other,
                }
            }

            /// The name; empty for [`Known::Other`].
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Other => "",
                }
            }
        }
    };
}

#[allow(non_upper_case_globals, reason = "the variants name the constants")]
mod known_names {
    known! {
        Host = "host",
        Connection = "connection",
        ContentLength = "content-length",
        TransferEncoding = "transfer-encoding",
        Te = "te",
        Trailer = "trailer",
        Upgrade = "upgrade",
        SecWebsocketKey = "sec-websocket-key",
        Expect = "expect",
        KeepAlive = "keep-alive",
        ProxyConnection = "proxy-connection",
        ProxyAuthorization = "proxy-authorization",
        ProxyAuthenticate = "proxy-authenticate",
        Http2Settings = "http2-settings",
        Cookie = "cookie",
        ContentType = "content-type",
        Traceparent = "traceparent",
        Tracestate = "tracestate",
        Via = "via",
        MaxForwards = "max-forwards",
        XForwardedFor = "x-forwarded-for",
        Forwarded = "forwarded",
        XForwardedClientCert = "x-forwarded-client-cert",
        ClientCert = "client-cert",
        ClientCertChain = "client-cert-chain",
        GrpcTimeout = "grpc-timeout",
        GrpcStatus = "grpc-status",
        Date = "date",
        WeftUndelivered = "weft-undelivered",
        WeftRefusal = "weft-refusal",
        WeftTraceRevision = "weft-trace-revision",
        WeftRevision = "weft-revision",
        WeftPatience = "weft-patience-ms",
        WeftReplica = "weft-replica",
    }
}

pub use known_names::Known;

impl Known {
    fn bit(self) -> u64 {
        1 << (self as u8)
    }
}

impl Fields {
    /// No fields.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets every field and keeps the room.
    pub fn clear(&mut self) {
        self.text.clear();
        self.list.clear();
        self.known = 0;
    }

    /// Bytes of memory that it holds.
    pub fn room(&self) -> usize {
        self.text.capacity() + self.list.capacity() * size_of::<Field>()
    }

    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Bytes that they take in the head of an HTTP/1.1 message: each with `: ` and CRLF.
    pub fn wire_len(&self) -> usize {
        self.list.iter().map(|field| usize::from(field.name_len) + field.value_len as usize + 4).sum()
    }

    /// Adds a field behind the others. The name is put in lower case; whoever calls has checked that it is a token and that the value
    /// holds no control byte. A field that does not fit 32 bits of text is beyond every limit of a head, and left out.
    #[inline]
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let at = self.text.len();
        self.text.extend_from_slice(name);
        self.text[at..].make_ascii_lowercase();
        self.finish(Known::of(&self.text[at..]), at, value);
    }

    /// Puts the value behind a name that begins there; a field that is too long for its place is left out.
    fn finish(&mut self, known: Known, at: usize, value: &[u8]) {
        let name_len = u16::try_from(self.text.len() - at);
        let (Ok(at_of_name), Ok(value_at), Ok(name_len), Ok(value_len)) =
            (u32::try_from(at), u32::try_from(self.text.len()), name_len, u32::try_from(value.len()))
        else {
            return self.text.truncate(at);
        };
        self.text.extend_from_slice(value);
        self.known |= known.bit();
        self.list.push(Field { known, name_len, at: at_of_name, value_at, value_len });
    }

    /// Adds a field of a known name.
    #[inline]
    pub fn add(&mut self, known: Known, value: &[u8]) {
        let at = self.text.len();
        self.text.extend_from_slice(known.name().as_bytes());
        self.finish(known, at, value);
    }

    /// Puts one field of a known name in the place of all.
    #[inline]
    pub fn put(&mut self, known: Known, value: &[u8]) {
        self.take_out(known);
        self.add(known, value);
    }

    /// Puts one field in the place of all of its name.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        self.push(name.as_bytes(), value);
    }

    /// Whether there is a field of a known name.
    #[inline]
    pub fn has(&self, known: Known) -> bool {
        self.known & known.bit() != 0 && self.list.iter().any(|field| field.known == known)
    }

    /// The first value of a known name.
    #[inline]
    pub fn first(&self, known: Known) -> Option<&[u8]> {
        self.each(known).next()
    }

    /// The values of a known name.
    #[inline]
    pub fn each(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        let list: &[Field] = if self.known & known.bit() == 0 { &[] } else { &self.list };
        list.iter().filter(move |field| field.known == known).map(|field| self.value(field))
    }

    /// Takes the fields of a known name out; whether there were any.
    #[inline]
    pub fn take_out(&mut self, known: Known) -> bool {
        if self.known & known.bit() == 0 {
            return false;
        }
        let before = self.list.len();
        self.list.retain(|field| field.known != known);
        self.known &= !known.bit();
        self.list.len() != before
    }

    /// The first value of a name in lower case.
    #[inline]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.list.iter().find(|field| self.name(field) == name.as_bytes()).map(|field| self.value(field))
    }

    /// The values of a name in lower case.
    pub fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f [u8]> {
        self.list.iter().filter(move |field| self.name(field) == name.as_bytes()).map(|field| self.value(field))
    }

    /// Takes the fields of a name in lower case out; whether there were any.
    pub fn remove(&mut self, name: &str) -> bool {
        self.remove_bytes(name.as_bytes())
    }

    /// As [`Fields::remove`], by the bytes of the name.
    pub fn remove_bytes(&mut self, name: &[u8]) -> bool {
        let before = self.list.len();
        let Self { text, list, .. } = self;
        list.retain(|field| name_in(text, field) != name);
        list.len() != before
    }

    /// Keeps the fields that `wanted` says, by known name and name.
    #[inline]
    pub fn retain(&mut self, mut wanted: impl FnMut(Known, &[u8]) -> bool) {
        let Self { text, list, .. } = self;
        list.retain(|field| wanted(field.known, name_in(text, field)));
    }

    /// Name and value of each, in order.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.list.iter().map(|field| (self.name(field), self.value(field)))
    }

    /// As [`Fields::iter`], with what the name is known as.
    #[inline]
    pub fn iter_known(&self) -> impl Iterator<Item = (Known, &[u8], &[u8])> {
        self.list.iter().map(|field| (field.known, self.name(field), self.value(field)))
    }

    fn name(&self, field: &Field) -> &[u8] {
        name_in(&self.text, field)
    }

    fn value(&self, field: &Field) -> &[u8] {
        &self.text[field.value_at as usize..field.value_at as usize + field.value_len as usize]
    }
}

fn name_in<'t>(text: &'t [u8], field: &Field) -> &'t [u8] {
    &text[field.at as usize..field.value_at as usize]
}

/// Members of a field whose value is a list: parts between commas, without space around them, empty ones left out (RFC 9110, section 5.6.1).
pub fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order_and_their_twins() {
        let mut fields = Fields::new();
        fields.push(b"Host", b"orders");
        fields.push(b"X-A", b"1");
        fields.push(b"x-a", b"2");
        assert_eq!(fields.all("x-a").collect::<Vec<_>>(), [b"1", b"2"]);
        assert!(fields.has(Known::Host) && !fields.has(Known::Te));
        fields.set("x-a", b"3");
        fields.put(Known::Host, b"web");
        let all: Vec<_> = fields.iter().collect();
        assert_eq!(all, [(&b"x-a"[..], &b"3"[..]), (b"host", b"web")]);
        assert_eq!(fields.wire_len(), 3 + 1 + 4 + 4 + 3 + 4);
        assert!(fields.take_out(Known::Host) && !fields.has(Known::Host));
    }

    #[test]
    fn every_known_name_is_known() {
        assert_eq!(Known::of(b"weft-replica"), Known::WeftReplica);
        assert_eq!(Known::of(b"weft-x"), Known::Other);
        assert!((Known::Other as u8) < 64);
        assert_eq!(Known::of(Known::GrpcTimeout.name().as_bytes()), Known::GrpcTimeout);
    }

    #[test]
    fn members_of_lists_are_found() {
        assert_eq!(members(b" a, ,b ,").collect::<Vec<_>>(), [b"a", b"b"]);
    }
}
