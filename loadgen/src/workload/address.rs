//! A server as the user names it: a URL, `host:port` or `unix:PATH`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fluent_uri::Uri;
use fluent_uri::pct_enc::EStr;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use socket2::SockAddr;

use super::target::{Addresses, Scheme, Target};

/// How an address is written, for messages.
const FORMS: &str = "give host:port, [v6]:port, http://host/path or unix:PATH";

/// What may not stand in a path or a query (RFC 3986, 3.3 and 3.4).
const NOT_IN_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A server as the user names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The server.
    pub target: Target,
    /// The path and the query of a URL, without its fragment.
    pub path: Option<String>,
    /// The value of an Authorization field, from the user and the password of a URL.
    pub authorization: Option<String>,
}

impl Address {
    fn new(target: Target) -> Self {
        Self {
            target,
            path: None,
            authorization: None,
        }
    }
}

/// Reads an address and looks its name up.
///
/// # Errors
/// A line that says what is wrong with it.
pub fn parse_address(text: &str) -> Result<Address, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        if path.is_empty() {
            return Err("unix: needs the path of a socket".to_owned());
        }
        SockAddr::unix(path).map_err(|error| error.to_string())?;
        return Ok(Address::new(Target {
            scheme: Scheme::Plain,
            host: String::new(),
            addresses: Addresses::Unix(path.into()),
        }));
    }
    if text.contains("://") {
        return parse_url(text);
    }
    let (host, port) = split(text)?;
    let (host, zone) = split_zone(host);
    if zone.is_some() && host.parse::<Ipv6Addr>().is_err() {
        return Err(format!("{host} is no IPv6 address: only these have a zone"));
    }
    Ok(Address::new(target(Scheme::Plain, host, zone, port)?))
}

/// The host and the port of an address that is no URL. A port alone is one of this machine.
fn split(text: &str) -> Result<(&str, u16), String> {
    let (host, port) = match text.rsplit_once(':') {
        Some(("", port)) => ("localhost", port),
        Some(parts) => parts,
        None if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => ("localhost", text),
        None => return Err(format!("there is no port in it; {FORMS}")),
    };
    if text.contains('/') {
        return Err(format!("a path needs a URL: http://{text}"));
    }
    let host = match host.strip_prefix('[') {
        Some(inner) => match inner.strip_suffix(']') {
            Some(inner) if split_zone(inner).0.parse::<Ipv6Addr>().is_ok() => inner,
            _ => return Err(format!("{host} is no IPv6 address in brackets; {FORMS}")),
        },
        None if host.contains(':') => {
            return Err("an IPv6 address needs brackets, such as [::1]:7000".to_owned());
        }
        None => host,
    };
    Ok((host, port_number(port)?))
}

/// An IPv6 address and its zone, such as `eth0`: a zone has a meaning on this machine alone and is not sent.
fn split_zone(host: &str) -> (&str, Option<&str>) {
    match host.split_once('%') {
        Some((host, zone)) => (host, Some(zone)),
        None => (host, None),
    }
}

/// A URL in parts; its name is not looked up.
struct Url<'a> {
    scheme: Scheme,
    /// Without brackets and zone.
    host: String,
    zone: Option<&'a str>,
    port: u16,
    /// With the query, without the fragment.
    path: String,
    authorization: Option<String>,
}

fn parse_url(text: &str) -> Result<Address, String> {
    let url = split_url(text)?;
    Ok(Address {
        target: target(url.scheme, &url.host, url.zone, url.port)?,
        path: Some(url.path),
        authorization: url.authorization,
    })
}

/// Reads a URL of a server whose port is not known yet. Its name is not looked up.
///
/// # Errors
/// A line that says what is wrong with it.
pub fn parse_url_without_port(text: &str) -> Result<Address, String> {
    let url = split_url(text)?;
    if url.scheme.default_port() != Some(url.port) {
        return Err(format!(
            "the port is that of the server that is started: leave :{} out",
            url.port
        ));
    }
    Ok(Address {
        target: Target {
            scheme: url.scheme,
            host: url.host,
            addresses: Addresses::Tcp(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, url.port))]),
        },
        path: Some(url.path),
        authorization: url.authorization,
    })
}

/// The path and the query of a URL of `server`, or of a text that is a path already.
///
/// # Errors
/// A line that says what is wrong with it.
pub fn request_target(text: &str, server: &Target) -> Result<String, String> {
    let authority = server.authority();
    if text.starts_with('/') {
        return Ok(split_url(&format!("http://{authority}{text}"))?.path);
    }
    let url = split_url(text)?;
    let is_tls = |scheme| scheme == Scheme::Https;
    let same_port = server.port() == Some(url.port);
    if is_tls(url.scheme) != is_tls(server.scheme) || url.host != server.host || !same_port {
        return Err(format!(
            "is of another server than {server}: a run loads one"
        ));
    }
    Ok(url.path)
}

fn split_url(text: &str) -> Result<Url<'_>, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err("is neither a URL nor a path that begins with /".to_owned());
    };
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Err(format!("{scheme}:// is not spoken here; {FORMS}")),
    };
    // The parser refuses a zone. In a URL its % may be written as %25 (RFC 6874).
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let (authority, zone) = match authority.rsplit_once('%') {
        Some((host, zone)) if host.contains('[') && zone.contains(']') => {
            let (zone, port) = zone.split_once(']').unwrap_or_default();
            let zone = zone.strip_prefix("25").unwrap_or(zone);
            (format!("{host}]{port}"), Some(zone))
        }
        _ => (authority.to_owned(), None),
    };
    // As curl does, what is typed in a path is sent, encoded where it must be.
    let rest = utf8_percent_encode(rest, NOT_IN_PATHS);
    let whole = format!("http://{authority}{rest}");
    let url = Uri::parse(whole.as_str()).map_err(|_| "is not a URL".to_owned())?;
    let named = url.authority().filter(|named| !named.host().is_empty());
    let named = named.ok_or("the URL has no host")?;
    let host = named.host().trim_matches(['[', ']']);
    let port = match named
        .port()
        .map(EStr::as_str)
        .filter(|port| !port.is_empty())
    {
        Some(port) => port_number(port)?,
        None => scheme.default_port().unwrap_or_default(),
    };
    let authorization = named.userinfo().map(|user| {
        let mut user: Vec<u8> = percent_decode_str(user.as_str()).collect();
        if !user.contains(&b':') {
            user.push(b':');
        }
        format!("Basic {}", STANDARD.encode(user))
    });
    let path = match url.path().as_str() {
        "" => "/",
        path => path,
    };
    let path = match url.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    Ok(Url {
        scheme,
        host: host.to_ascii_lowercase(),
        zone,
        port,
        path,
        authorization,
    })
}

fn port_number(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port @ 1..) => Ok(port),
        _ => Err(format!("{text:?} is no port from 1 to 65535; {FORMS}")),
    }
}

/// Looks a name up.
fn target(scheme: Scheme, host: &str, zone: Option<&str>, port: u16) -> Result<Target, String> {
    let name = match zone {
        Some(zone) => format!("{host}%{zone}"),
        None => host.to_owned(),
    };
    let found: Vec<SocketAddr> = match (name.as_str(), port).to_socket_addrs() {
        Ok(found) => found.collect(),
        // RFC 6761, 6.3: this name is the loopback also where no hosts file says so.
        Err(_) if name.eq_ignore_ascii_case("localhost") => {
            vec![(Ipv4Addr::LOCALHOST, port).into()]
        }
        Err(error) => return Err(format!("{name:?}: {error}")),
    };
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(format!("{name:?} has no address"));
    }
    Ok(Target {
        scheme,
        host: host.to_ascii_lowercase(),
        addresses: Addresses::Tcp(addresses),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority(text: &str) -> String {
        parse_address(text).unwrap().target.authority()
    }

    #[test]
    fn all_forms_of_an_address_are_read() {
        for (text, shown, host, addresses) in [
            (
                "127.0.0.1:7000",
                "127.0.0.1:7000",
                "127.0.0.1",
                "127.0.0.1:7000",
            ),
            ("[::1]:7000", "[::1]:7000", "::1", "[::1]:7000"),
            (
                "http://127.0.0.1",
                "http://127.0.0.1",
                "127.0.0.1",
                "127.0.0.1:80",
            ),
            (
                "HTTPS://127.0.0.1/",
                "https://127.0.0.1",
                "127.0.0.1",
                "127.0.0.1:443",
            ),
            (
                "https://127.0.0.1:80",
                "https://127.0.0.1:80",
                "127.0.0.1",
                "127.0.0.1:80",
            ),
            ("http://[::1]:80/", "http://[::1]", "::1", "[::1]:80"),
        ] {
            let target = parse_address(text).unwrap().target;
            assert_eq!(target.to_string(), shown);
            assert_eq!(target.host, host);
            assert_eq!(
                target.addresses,
                Addresses::Tcp(vec![addresses.parse().unwrap()])
            );
        }
        for text in [":7000", "7000"] {
            let target = parse_address(text).unwrap().target;
            assert_eq!(target, parse_address("localhost:7000").unwrap().target);
            assert_eq!(target.to_string(), "localhost:7000");
        }
    }

    #[test]
    fn a_url_says_the_path_and_who_asks() {
        for (text, path, authorization) in [
            ("http://127.0.0.1", "/", None),
            ("http://127.0.0.1?a=b", "/?a=b", None),
            (
                "http://127.0.0.1/a%20b/c?d=%2F&e#f",
                "/a%20b/c?d=%2F&e",
                None,
            ),
            ("http://127.0.0.1/#top", "/", None),
            (
                "http://127.0.0.1/a b?c[]={d}|\u{e9}",
                "/a%20b?c%5B%5D=%7Bd%7D%7C%C3%A9",
                None,
            ),
            (
                "http://Aladdin:open%20sesame@127.0.0.1/",
                "/",
                Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ),
            ("http://token@127.0.0.1/", "/", Some("Basic dG9rZW46")),
        ] {
            let address = parse_address(text).unwrap();
            assert_eq!(address.path.as_deref(), Some(path), "{text}");
            assert_eq!(address.authorization.as_deref(), authorization, "{text}");
            assert_eq!(address.target.authority(), "127.0.0.1");
        }
    }

    #[test]
    fn a_zone_chooses_the_interface_and_is_not_sent() {
        for text in [
            "[fe80::1%1]:7000",
            "http://[fe80::1%1]:7000/",
            "http://[fe80::1%251]:7000/%251",
        ] {
            assert_eq!(authority(text), "[fe80::1]:7000");
            let Addresses::Tcp(addresses) = parse_address(text).unwrap().target.addresses else {
                panic!("{text}");
            };
            assert_eq!(addresses, ["[fe80::1%1]:7000".parse().unwrap()], "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_told() {
        for (text, told) in [
            ("", "no port"),
            ("localhost", "no port"),
            ("localhost:http", "\"http\" is no port"),
            ("localhost:65536", "\"65536\" is no port"),
            ("localhost:0", "\"0\" is no port"),
            ("localhost:7000/path", "http://localhost:7000/path"),
            ("::1:7000", "[::1]:7000"),
            ("[::1:7000", "no IPv6 address in brackets"),
            ("[localhost]:7000", "no IPv6 address in brackets"),
            ("127.0.0.1%1:7000", "no IPv6 address"),
            ("unix:", "the path of a socket"),
            ("ftp://localhost/", "ftp:// is not spoken"),
            ("http://", "no host"),
            ("http:///path", "no host"),
            ("http://:80/", "no host"),
            ("http://user@/", "no host"),
            ("http://?a", "no host"),
            ("http://localhost:99999/", "no port"),
            ("http://localhost:0/", "no port"),
            ("http://::1/", "not a URL"),
            ("http://[::1/", "not a URL"),
            ("http://a b/", "not a URL"),
            ("http://127.0.0.1/%zz", "not a URL"),
            ("http://name.invalid/", "name.invalid"),
        ] {
            let error = parse_address(text).unwrap_err();
            assert!(
                error.contains(told) && !error.contains('\n'),
                "{text}: {error}"
            );
        }
    }
}
