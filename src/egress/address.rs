//! Which addresses are on the public internet, after IANA's registries of special-purpose addresses.
//!
//! IPv4: all but the blocks below. IPv6: only 2000::/3, the one part that is given out, without its special
//! blocks. Addresses that carry an IPv4 address inside, and that a machine would connect as such, are judged
//! by what they carry; the carriers that nobody uses any more (6to4, Teredo, IPv4-compatible) are refused whole.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Policy;

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// The public internet.
    Public,
    /// This machine or its private networks.
    Private,
    /// Nowhere that anybody has a reason to name: clouds' metadata, multicast, documentation, reserved.
    Never,
}

use Reach::{Never, Private, Public};

/// IPv4 blocks that are not public: first address, length of the prefix.
const BLOCKS_V4: [(Ipv4Addr, u32, Reach); 17] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8, Never),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Private),
    // Metadata of Alibaba Cloud, inside the block of carrier-grade NAT.
    (Ipv4Addr::new(100, 100, 100, 200), 32, Never),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Private),
    (Ipv4Addr::new(127, 0, 0, 0), 8, Private),
    // The host's agent in Azure, on an address that looks public.
    (Ipv4Addr::new(168, 63, 129, 16), 32, Never),
    // Link-local: the metadata of most clouds is 169.254.169.254.
    (Ipv4Addr::new(169, 254, 0, 0), 16, Never),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Never),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Never),
    (Ipv4Addr::new(192, 88, 99, 0), 24, Never),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Private),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Never),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Never),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Never),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Never),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Never),
];

/// IPv6 blocks in the order in which they are asked; what is in none is not given out to anybody.
const BLOCKS_V6: [(Ipv6Addr, u32, Reach); 8] = [
    (Ipv6Addr::LOCALHOST, 128, Private),
    // Metadata of Amazon's cloud, inside the block of unique local addresses.
    (
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        128,
        Never,
    ),
    (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7, Private),
    // Protocol assignments, Teredo and benchmarking among them.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23, Never),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, Never),
    // 6to4.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16, Never),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, Never),
    (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3, Public),
];

/// 64:ff9b::/96 (RFC 6052): how hosts that only speak IPv6 see the IPv4 internet.
const NAT64: Ipv6Addr = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0);

impl Policy {
    /// Whether a connection may go there.
    pub(super) fn allows(self, address: IpAddr) -> bool {
        match reach(address) {
            Public => true,
            Private => self.private_allowed,
            Never => false,
        }
    }
}

fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => match carried(address) {
            Some(inside) => reach_v4(inside),
            None => reach_v6(address),
        },
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    let is_in =
        |first: Ipv4Addr, length| (address.to_bits() ^ first.to_bits()) >> (32 - length) == 0;
    let block = BLOCKS_V4
        .iter()
        .find(|(first, length, _)| is_in(*first, *length));
    block.map_or(Public, |(_, _, reach)| *reach)
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    let is_in =
        |first: Ipv6Addr, length| (address.to_bits() ^ first.to_bits()) >> (128 - length) == 0;
    let block = BLOCKS_V6
        .iter()
        .find(|(first, length, _)| is_in(*first, *length));
    block.map_or(Never, |(_, _, reach)| *reach)
}

/// The IPv4 address that a packet to this one ends at.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let is_nat64 = address.segments()[..6] == NAT64.segments()[..6];
    let [.., a, b, c, d] = address.octets();
    let inside = is_nat64.then(|| Ipv4Addr::new(a, b, c, d));
    inside.or(address.to_ipv4_mapped())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach_of(text: &str) -> Reach {
        reach(
            text.parse()
                .unwrap_or_else(|_| panic!("{text} is an address")),
        )
    }

    #[test]
    fn every_special_block_is_known_to_its_edges() {
        let table = [
            ("0.0.0.0", Never),
            ("0.255.255.255", Never),
            ("1.0.0.0", Public),
            ("9.255.255.255", Public),
            ("10.0.0.0", Private),
            ("10.255.255.255", Private),
            ("100.63.255.255", Public),
            ("100.64.0.0", Private),
            ("100.100.100.200", Never),
            ("100.127.255.255", Private),
            ("100.128.0.0", Public),
            ("127.0.0.1", Private),
            ("127.255.255.255", Private),
            ("168.63.129.16", Never),
            ("169.254.0.1", Never),
            ("169.254.169.254", Never),
            ("172.15.255.255", Public),
            ("172.16.0.0", Private),
            ("172.31.255.255", Private),
            ("172.32.0.0", Public),
            ("192.0.0.192", Never),
            ("192.0.2.1", Never),
            ("192.88.99.1", Never),
            ("192.168.1.1", Private),
            ("198.17.255.255", Public),
            ("198.18.0.0", Never),
            ("198.19.255.255", Never),
            ("198.51.100.7", Never),
            ("203.0.113.7", Never),
            ("223.255.255.255", Public),
            ("224.0.0.1", Never),
            ("239.255.255.255", Never),
            ("240.0.0.1", Never),
            ("255.255.255.255", Never),
            ("8.8.8.8", Public),
        ];
        for (address, expected) in table {
            assert_eq!(reach_of(address), expected, "{address}");
        }
    }

    #[test]
    fn of_ipv6_only_what_is_given_out_is_public() {
        let table = [
            ("::", Never),
            ("::1", Private),
            ("fd00:ec2::254", Never),
            ("fd00:ec2::255", Private),
            ("fc00::1", Private),
            ("fe80::1", Never),
            ("fec0::1", Never),
            ("ff02::1", Never),
            ("100::1", Never),
            ("2001:db8::1", Never),
            ("3fff:fff::1", Never),
            ("2001:2::1", Never),
            ("5f00::1", Never),
            ("4000::1", Never),
            ("2001:4860:4860::8888", Public),
            ("2606:4700:4700::1111", Public),
        ];
        for (address, expected) in table {
            assert_eq!(reach_of(address), expected, "{address}");
        }
    }

    #[test]
    fn an_address_in_disguise_is_judged_by_what_it_carries() {
        let table = [
            // IPv4-mapped.
            ("::ffff:127.0.0.1", Private),
            ("::ffff:169.254.169.254", Never),
            ("::ffff:8.8.8.8", Public),
            // NAT64, and its form for use inside one network (RFC 8215).
            ("64:ff9b::127.0.0.1", Private),
            ("64:ff9b::169.254.169.254", Never),
            ("64:ff9b::8.8.8.8", Public),
            ("64:ff9b:1::8.8.8.8", Never),
            // IPv4-compatible, IPv4-translated, 6to4 of 127.0.0.1 and 8.8.8.8, Teredo.
            ("::127.0.0.1", Never),
            ("::8.8.8.8", Never),
            ("::ffff:0:127.0.0.1", Never),
            ("2002:7f00:1::", Never),
            ("2002:808:808::", Never),
            ("2001:0:4136:e378:8000:63bf:80ff:fffe", Never),
        ];
        for (address, expected) in table {
            assert_eq!(reach_of(address), expected, "{address}");
        }
    }
}
