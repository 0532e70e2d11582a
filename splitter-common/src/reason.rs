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
}

impl Kind {
    /// Lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Reply => "reply",
        }
    }
}

/// Number of reasons.
pub const REASONS: usize = 12;

reasons! {
    /// The next hop is not known: given to the kernel rewritten, which forwards it and resolves the neighbour.
    NoNextHop = 0, "no_next_hop", Pass;
    /// TTL or hop limit of 1 or 0: the kernel answers with time-exceeded.
    TtlExpired = 1, "ttl_expired", Pass;
    /// A fragment to a service's address.
    Fragment = 2, "fragment", Pass;
    /// IPv4 options.
    Options = 3, "ip_options", Pass;
    /// IPv6 extension headers.
    ExtensionHeaders = 4, "extension_headers", Pass;
    /// ICMP to a service's address.
    Icmp = 5, "icmp", Pass;
    /// A transport protocol or port at a service's address that no service has.
    OtherTraffic = 6, "other_traffic", Pass;
    /// A header that ends too early or contradicts itself.
    Malformed = 7, "malformed", Pass;
    /// The slot has no backend and the policy is `drop`.
    NoBackend = 8, "no_backend_dropped", Drop;
    /// The slot has no backend and the policy is `reject`: answered with a TCP reset.
    Rejected = 9, "no_backend_rejected", Reply;
    /// Bytes were already changed when the packet could not be finished.
    Unfinished = 10, "unfinished", Drop;
    /// A datagram to a UDP service that claims to be from a backend: the two would answer each other for ever.
    Loop = 11, "backend_loop", Drop;
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
