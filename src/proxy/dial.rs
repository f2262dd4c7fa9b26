//! Connections to the web: a name is resolved once, every address is checked,
//! and the checked address is the one that is connected to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::address;
use super::client::CONNECT_TIMEOUT;
use super::credential::Secret;
use super::resolve::{Asker, Resolver};
use crate::files;

/// How long one of several addresses may take before the next is tried.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(4);
/// The longest answer of an upstream proxy to CONNECT, in bytes.
const MAX_HEAD: usize = 8 * 1024;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// It is forbidden.
    #[error("{0}")]
    Refused(String),
    /// It did not work.
    #[error("{0}")]
    Failed(String),
}

/// The way out to the web.
#[derive(Debug)]
pub(super) struct Dialer {
    chain: Option<Secret>,
    pinned: Vec<(String, SocketAddr)>,
    resolver: Resolver,
}

impl Dialer {
    /// Directly, or through the HTTP proxy at `chain`.
    pub(super) fn new(chain: Option<String>, pinned: Vec<(String, SocketAddr)>) -> Dialer {
        // The address may hold a password.
        Dialer { chain: chain.map(Secret::new), pinned, resolver: Resolver::default() }
    }

    /// What one container looks names up with.
    pub(super) fn asker(&self) -> Asker {
        self.resolver.asker()
    }

    /// A connection to `host`, which has been through [`parse_host`].
    pub(super) async fn dial(
        &self,
        asker: &Asker,
        host: &str,
        port: u16,
    ) -> Result<TcpStream, DialError> {
        let within = async {
            let addresses = self.addresses(asker, host, port).await?;
            match &self.chain {
                Some(proxy) => through(asker, proxy.expose(), &addresses).await,
                None => first(&addresses).await,
            }
            .map_err(|e| DialError::Failed(format!("cannot reach {host}: {e}")))
        };
        match timeout(CONNECT_TIMEOUT, within).await {
            Ok(result) => result,
            Err(_) => Err(DialError::Failed(format!("cannot reach {host}: no connection in time"))),
        }
    }

    /// The addresses of `host` that may be connected to: at least one.
    async fn addresses(
        &self,
        asker: &Asker,
        host: &str,
        port: u16,
    ) -> Result<Vec<SocketAddr>, DialError> {
        if let Some((_, address)) = self.pinned.iter().find(|(name, _)| name == host) {
            return Ok(vec![*address]);
        }
        let found = asker.addresses(host, port).await;
        let found = found.map_err(|e| DialError::Failed(format!("cannot find {host}: {e}")))?;
        let mut why = None;
        let mut allowed = Vec::new();
        for address in found {
            match refusal(address.ip()) {
                None => allowed.push(address),
                Some(reason) => why = Some(reason),
            }
        }
        match (allowed.is_empty(), why) {
            (false, _) => Ok(allowed),
            (true, Some(why)) => Err(DialError::Refused(format!(
                "{host} is {why}; only public addresses may be reached"
            ))),
            (true, None) => Err(DialError::Failed(format!("{host} has no address"))),
        }
    }
}

/// The policy, and what it cannot know: what this machine and its network have. What
/// cannot be told is taken for that.
fn refusal(ip: IpAddr) -> Option<&'static str> {
    address::refusal(ip).or_else(|| or_refused(near(ip)))
}

fn or_refused(found: io::Result<Option<&'static str>>) -> Option<&'static str> {
    found.unwrap_or(Some("not to be told from an address of this machine just now"))
}

/// Why an address is the owner's own, as the system says. Nothing is sent, and unlike
/// a list of interfaces this needs no unsafe code and is never out of date.
fn near(ip: IpAddr) -> io::Result<Option<&'static str>> {
    const OWN: Option<&str> = Some("an address of this machine");
    let (any, nobody): (IpAddr, IpAddr) = match ip {
        IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::from(0x2001_0db8 << 96).into()),
    };
    // Only its own can be bound to, unless the machine is set to bind to any.
    if is_bindable(ip)? && !is_bindable(nobody)? {
        return Ok(OWN);
    }
    let socket = UdpSocket::bind((any, 0))?;
    if socket.connect((ip, 9)).is_err() {
        // There is no way to it, so that it is not ours.
        return Ok(None);
    }
    let source = socket.local_addr()?.ip();
    Ok(match (ip, source) {
        _ if ip == source => OWN,
        (IpAddr::V6(ip), IpAddr::V6(source)) if is_neighbour(ip, source) => {
            Some("an address of this machine's own network")
        }
        _ => None,
    })
}

fn is_bindable(ip: IpAddr) -> io::Result<bool> {
    match UdpSocket::bind((ip, 0)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether both are of one network: at home every machine has a public address of its
/// own, in the 64 bits that the provider gave.
fn is_neighbour(one: Ipv6Addr, other: Ipv6Addr) -> bool {
    one.segments()[..4] == other.segments()[..4]
}

async fn first(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::other("no address");
    for address in addresses {
        match timeout(ADDRESS_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::other("no answer"),
        }
    }
    Err(last)
}

/// Asks the upstream proxy for the checked address, not for the name, which it
/// might resolve otherwise.
async fn through(asker: &Asker, proxy: &str, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let invalid =
        || io::Error::other("NANOCLAW_UPSTREAM_PROXY is not an address like http://host:port");
    let url = reqwest::Url::parse(proxy).map_err(|_| invalid())?;
    let (Some(host), Some(port), "http") =
        (url.host_str(), url.port_or_known_default(), url.scheme())
    else {
        return Err(invalid());
    };
    // A literal IPv6 address comes in brackets.
    let at = asker.addresses(host.trim_matches(['[', ']']), port).await?;
    let mut stream = first(&at).await?;
    let target = addresses.first().ok_or_else(|| io::Error::other("no address"))?;
    let mut head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if !url.username().is_empty() {
        let pair = format!(
            "{}:{}",
            unescape(url.username()),
            unescape(url.password().unwrap_or_default())
        );
        head.push_str(&format!(
            "Proxy-Authorization: Basic {}\r\n",
            files::base64(pair.as_bytes())
        ));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    // One byte at a time, so as not to take any of the tunnel's.
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await?);
        if answer.len() > MAX_HEAD {
            return Err(io::Error::other("the upstream proxy does not speak HTTP"));
        }
    }
    let status =
        answer.split(|&b| b == b' ').nth(1).map(String::from_utf8_lossy).unwrap_or_default();
    if answer.starts_with(b"HTTP/1.") && status.starts_with('2') {
        Ok(stream)
    } else {
        Err(io::Error::other(format!("the upstream proxy answered {}", status.escape_debug())))
    }
}

/// `%40` and the like in a URL's name and password.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail
            .get(..2)
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, escaped) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A host name or address in the one form that is checked, matched and
/// connected to, or why it is none.
///
/// Numbers are where parsers disagree: `0x7f.1`, `2130706433` and `127.1` are
/// loopback to some. As browsers do, a host whose last part is a number must be
/// a whole dotted address.
pub(super) fn parse_host(text: &str) -> Result<String, String> {
    let refuse =
        |why: &str| Err(format!("{:?} is {why}", text.chars().take(80).collect::<String>()));
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return match inner.parse::<Ipv6Addr>() {
            Ok(address) => Ok(address.to_string()),
            Err(_) => refuse("not an address"),
        };
    }
    let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if host.len() > 253
        || host
            .split('.')
            .any(|part| part.is_empty() || part.len() > 63 || !part.chars().all(plain))
    {
        return refuse("not a host name");
    }
    let last = host.rsplit('.').next().unwrap_or_default();
    let number = last.bytes().all(|b| b.is_ascii_digit())
        || last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if number && host.parse::<Ipv4Addr>().is_err() {
        return refuse("an address in an unusual form");
    }
    Ok(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_form() {
        for (text, expected) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("1.1.1.1", "1.1.1.1"),
            ("[2606:4700::0:1111]", "2606:4700::1111"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("1.1.1.1.nip.io", "1.1.1.1.nip.io"),
        ] {
            assert_eq!(parse_host(text).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn odd_forms_of_addresses_are_no_hosts() {
        for text in [
            "0x7f.1",
            "0x7f000001",
            "2130706433",
            "017700000001",
            "127.1",
            "127.0.1",
            "0177.0.0.1",
            "127.0.0.01",
            "127.0.0.0x1",
            "0x",
            "1.2.3.4.5",
            "256.1.1.1",
            "::1",
            "[::1",
            "[fe80::1%eth0]",
            "[127.0.0.1]",
            "",
            ".",
            "..",
            "a..b",
            "a b",
            "a/b",
            "a@b",
            "bücher.example",
            "127.0.0.1%00",
            "①②⑦.⓪.⓪.①",
        ] {
            assert!(parse_host(text).is_err(), "{text:?}");
        }
    }

    #[tokio::test]
    async fn names_and_literals_of_this_machine_are_refused() {
        for host in
            ["localhost", "127.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "10.0.0.1"]
        {
            let dialer = Dialer::new(None, Vec::new());
            let result = dialer.dial(&dialer.asker(), host, 80).await;
            assert!(matches!(result, Err(DialError::Refused(_))), "{host}: {result:?}");
        }
    }

    #[test]
    fn own_addresses_are_recognised() {
        let is_own = |ip: IpAddr| near(ip).expect("a socket").is_some();
        // Loopback is the one that every machine has.
        assert!(is_own(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_own(Ipv4Addr::new(1, 1, 1, 1).into()));
        // One that is never the source of what is sent to it, as any but the first of
        // an interface.
        #[cfg(target_os = "linux")]
        assert!(is_own(Ipv4Addr::new(127, 0, 0, 2).into()));
        // And the one towards the internet, where there is a way.
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        if socket.connect("1.1.1.1:9").is_ok() {
            assert!(is_own(socket.local_addr().expect("an address").ip()));
        }
    }

    #[test]
    fn a_neighbour_shares_the_first_64_bits() {
        let at = |text: &str| text.parse().expect("an address");
        let mine = at("2a00:1:2:3:a:b:c:d");
        assert!(is_neighbour(mine, at("2a00:1:2:3::1")));
        assert!(!is_neighbour(mine, at("2a00:1:2:4:a:b:c:d")));
    }

    #[test]
    fn without_a_descriptor_to_ask_with_everything_is_refused() {
        assert!(or_refused(Err(io::Error::from_raw_os_error(24))).is_some());
        assert_eq!(or_refused(Ok(None)), None);
    }

    #[test]
    fn proxy_passwords_are_read() {
        assert_eq!(unescape("p%40ss%"), "p@ss%");
    }
}
