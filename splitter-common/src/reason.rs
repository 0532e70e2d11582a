//! Why a service's packet was passed to the kernel or dropped; one counter each, by service.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal, $kind:ident;)*) => {
        /// Why a service's packet was passed or dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Reason {
            $($(#[$doc])* $name = $number,)*
        }

        impl Reason {
            /// All of them, in the order of their numbers.
            pub const ALL: [Self; REASONS] = [$(Self::$name,)*];

            /// The name that `splitter stats` and the metrics show.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What becomes of such a packet.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$name => Kind::$kind,)* }
            }
        }
    };
}

/// What becomes of a packet with a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Given to the kernel.
    Pass,
    /// Dropped.
    Drop,
    /// Answered by the data plane.
    Reply,
    /// Sent on, translated.
    Send,
}

impl Kind {
    /// Lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Reply => "reply",
            Self::Send => "send",
        }
    }
}

/// Number of reasons.
pub const REASONS: usize = 22;

reasons! {
    /// The next hop is not known: given to the kernel rewritten, which forwards it and resolves the neighbour.
    NoNextHop = 0, "no_next_hop", Pass;
    /// TTL or hop limit of 1 or 0: the kernel answers with time-exceeded.
    TtlExpired = 1, "ttl_expired", Pass;
    /// A later fragment to a service's address whose first one was not seen lately.
    FragmentWithoutFirst = 2, "fragment_without_first", Drop;
    /// A later fragment that would overwrite the transport header (RFC 1858).
    FragmentOverlap = 3, "fragment_overlap", Drop;
    /// More IPv6 extension headers than are followed, or one that cannot be.
    ExtensionHeaders = 4, "extension_headers", Pass;
    /// ICMP to a service's address that is neither an echo request nor about a connection.
    Icmp = 5, "icmp", Pass;
    /// A transport protocol or port at a service's address that no service has.
    OtherTraffic = 6, "other_traffic", Pass;
    /// A header that ends too early or contradicts itself.
    Malformed = 7, "malformed", Pass;
    /// The slot has no backend and the policy is `drop`.
    NoBackend = 8, "no_backend_dropped", Drop;
    /// The slot has no backend and the policy is `reject`: answered with a TCP reset or ICMP port unreachable.
    Rejected = 9, "no_backend_rejected", Reply;
    /// Bytes were already changed when the packet could not be finished.
    Unfinished = 10, "unfinished", Drop;
    /// A datagram to a UDP service that claims to be from a backend: the two would answer each other for ever.
    Loop = 11, "backend_loop", Drop;
    /// From an address that no client has: multicast, broadcast, loopback, or one of our own.
    StrangeSource = 12, "strange_source", Drop;
    /// An echo request to a service's address, answered.
    Echo = 13, "icmp_echo", Reply;
    /// An ICMP error about a service's connection, translated and sent on.
    IcmpError = 14, "icmp_error", Send;
    /// Larger than the way to its backend takes: answered with ICMP "fragmentation needed" or "packet too big".
    TooBig = 15, "too_big", Reply;
    /// The same, where neither an answer nor the kernel helps.
    TooBigDropped = 16, "too_big_dropped", Drop;
    /// Larger than the way takes: the kernel fragments it, or tells its sender.
    TooBigToKernel = 17, "too_big_to_kernel", Pass;
    /// `snat`: no port is free for a new connection; refused by the service's policy.
    NoPort = 18, "snat_no_port", Reply;
    /// `snat`: a segment of a connection that is not known; refused by the service's policy.
    NoConnection = 19, "snat_no_connection", Reply;
    /// Of a connection that is reset because its backend's drain deadline has passed.
    ResetAtDeadline = 20, "reset_at_deadline", Reply;
    /// `dsr-l2`: the next hop is not known, and the kernel cannot deliver it either.
    NoNextHopDropped = 21, "no_next_hop_dropped", Drop;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_positions() {
        for (position, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, position);
        }
    }
}
