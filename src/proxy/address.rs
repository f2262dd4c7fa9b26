//! Which addresses a container may reach: public ones. Pure.
//!
//! From the special-purpose registries of IANA (RFC 6890 and its updates). For
//! IPv6 the rule is the other way round: only `2000::/3` is handed out to the
//! public at all, so everything else is refused, and the parts of it that embed
//! an IPv4 address or belong to nobody. The host's own addresses are not known
//! here; `dial` asks for them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why `address` may not be reached, or `None` if it may.
pub(super) fn refusal(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(a) => refusal_v4(a),
        IpAddr::V6(a) => refusal_v6(a),
    }
}

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, d] = address.octets();
    Some(match (a, b, c, d) {
        (0, ..) => "an address of \"this network\"",
        (10, ..) | (172, 16..=31, ..) | (192, 168, ..) => "a private address",
        (100, 64..=127, ..) => "a carrier's private address (CGNAT)",
        (127, ..) => "a loopback address",
        (169, 254, ..) => "a link-local or metadata address",
        // Azure's metadata and host agent, in the midst of public addresses.
        (168, 63, 129, 16) => "a cloud metadata address",
        (192, 0, 0, _) => "a reserved address",
        (192, 0, 2, _) | (198, 51, 100, _) | (203, 0, 113, _) => "a documentation address",
        (192, 88, 99, _) => "a 6to4 relay",
        (198, 18..=19, ..) => "a benchmark address",
        (224..=239, ..) => "a multicast address",
        (255, 255, 255, 255) => "the broadcast address",
        (240..=255, ..) => "a reserved address",
        _ => return None,
    })
}

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    let s = address.segments();
    Some(match s {
        [0, 0, 0, 0, 0, 0, 0, 1] => "a loopback address",
        [0, 0, 0, 0, 0, 0xffff, _, _] => "an IPv4 address in IPv6 form (v4-mapped)",
        [0, 0, 0, 0, 0, 0, _, _] => "an IPv4 address in IPv6 form (v4-compatible)",
        [0x64, 0xff9b, 0, 0, 0, 0, _, _] | [0x64, 0xff9b, 1, ..] => {
            "an IPv4 address in IPv6 form (NAT64)"
        }
        [0xfc00..=0xfdff, ..] => "a private address (ULA)",
        [0xfe80..=0xfebf, ..] => "a link-local address",
        [0xff00..=0xffff, ..] => "a multicast address",
        [0x2001, 0, ..] => "an IPv4 address in IPv6 form (Teredo)",
        [0x2001, 0..=0x1ff, ..] => "a reserved address",
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => "a documentation address",
        [0x2002, ..] => "an IPv4 address in IPv6 form (6to4)",
        [0x2000..=0x3fff, ..] => return None,
        _ => "a reserved address",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_addresses_are_allowed() {
        for text in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "160.79.104.10",
            "168.63.129.17",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "2001:200::1",
            "2607:6bc0::10",
            "2a00:1450:4001::1",
        ] {
            assert_eq!(refusal(text.parse().expect(text)), None, "{text}");
        }
    }

    #[test]
    fn every_other_kind_is_refused_by_name() {
        for (text, why) in [
            ("0.0.0.0", "this network"),
            ("0.255.255.255", "this network"),
            ("10.0.0.0", "private"),
            ("10.255.255.255", "private"),
            ("100.64.0.0", "CGNAT"),
            ("100.100.100.200", "CGNAT"),
            ("100.127.255.255", "CGNAT"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.255", "loopback"),
            ("168.63.129.16", "metadata"),
            ("169.254.0.1", "link-local"),
            ("169.254.169.254", "metadata"),
            ("172.16.0.0", "private"),
            ("172.31.255.255", "private"),
            ("192.0.0.1", "reserved"),
            ("192.0.0.192", "reserved"),
            ("192.0.2.1", "documentation"),
            ("192.88.99.1", "6to4"),
            ("192.168.0.0", "private"),
            ("192.168.255.255", "private"),
            ("198.18.0.0", "benchmark"),
            ("198.19.255.255", "benchmark"),
            ("198.51.100.7", "documentation"),
            ("203.0.113.7", "documentation"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "broadcast"),
            ("::", "v4-compatible"),
            ("::1", "loopback"),
            ("::127.0.0.1", "v4-compatible"),
            ("::8.8.8.8", "v4-compatible"),
            ("::ffff:127.0.0.1", "v4-mapped"),
            ("::ffff:8.8.8.8", "v4-mapped"),
            ("::ffff:0:8.8.8.8", "reserved"),
            ("64:ff9b::7f00:1", "NAT64"),
            ("64:ff9b:1::7f00:1", "NAT64"),
            ("100::1", "reserved"),
            ("1fff:ffff::1", "reserved"),
            ("2001::1", "Teredo"),
            ("2001:2::1", "reserved"),
            ("2001:10::1", "reserved"),
            ("2001:1ff::1", "reserved"),
            ("2001:db8::1", "documentation"),
            ("2002:7f00:1::1", "6to4"),
            ("3fff::1", "documentation"),
            ("4000::1", "reserved"),
            ("5f00::1", "reserved"),
            ("fc00::1", "ULA"),
            ("fd00:ec2::254", "ULA"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("fec0::1", "reserved"),
            ("ff02::1", "multicast"),
        ] {
            let found = refusal(text.parse().expect(text)).unwrap_or("allowed");
            assert!(found.contains(why), "{text}: {found}");
        }
    }
}
