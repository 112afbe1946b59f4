//! Addresses and URLs that try to get past the guard.
use super::*;

fn guard(allow_http: bool, networks: &[&str]) -> Guard {
    Guard::new(&EgressSettings {
        allow_http,
        allow_networks: networks.iter().map(|n| n.parse().unwrap()).collect(),
        ..EgressSettings::default()
    })
}

#[test]
fn public_addresses_pass_and_all_others_do_not() {
    for ip in "1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.0 172.15.255.255 172.32.0.0 192.0.1.0 198.17.255.255 \
        198.20.0.0 223.255.255.255 11.0.0.0 2606:4700:4700::1111 2a00:1450::1 2001:200::1 \
        2001:4860::8888 ::ffff:8.8.8.8 64:ff9b::808:808 3ffd::1 3fff:1000::1"
        .split_whitespace()
    {
        assert_eq!(refused(ip.parse().unwrap(), &[]), None, "{ip}");
    }
    for ip in "0.0.0.0 0.255.1.1 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.254 169.254.0.1 \
        169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1 192.31.196.1 192.52.193.1 \
        192.88.99.1 192.168.1.1 192.175.48.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 \
        224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 168.63.129.16 :: ::1 ::ffff:127.0.0.1 \
        ::ffff:169.254.169.254 ::127.0.0.1 ::ffff:0:127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe \
        64:ff9b:1::7f00:1 100::1 fc00::1 fd00:ec2::254 fe80::1 febf::1 fec0::1 ff02::1 2001::1 \
        2001:1ff::1 2001:db8::1 2002:7f00:1:: 2002:808:808:: 2620:4f:8000::1 3ffe::1 3fff::1 3fff:fff::1 \
        4000::1 1fff::1"
        .split_whitespace()
    {
        assert!(refused(ip.parse().unwrap(), &[]).is_some(), "{ip}");
    }
}

#[test]
fn allow_networks_opens_named_ranges_but_never_metadata() {
    let nets: Vec<IpNet> = ["10.20.0.0/16", "127.0.0.0/8", "fd00::/8"].map(|n| n.parse().unwrap()).to_vec();
    for (ip, passes) in [
        ("10.20.1.1", true),
        ("10.21.1.1", false),
        ("127.0.0.1", true),
        ("::ffff:10.20.1.1", true),
        ("64:ff9b::a14:101", true),
        ("::1", false),
        ("fd12::1", true),
        ("fd00:ec2::254", false),
    ] {
        assert_eq!(refused(ip.parse().unwrap(), &nets).is_none(), passes, "{ip}");
    }
    let all: Vec<IpNet> = ["0.0.0.0/0", "::/0"].map(|n| n.parse().unwrap()).to_vec();
    for ip in [
        "169.254.169.254",
        "168.63.129.16",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a9fe:a9fe",
        "::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "2001:0:1:2:3:4:5601:5601",
        "fe80::1",
        "fe80::a9fe:a9fe",
        "fd00:ec2::254",
    ] {
        assert_eq!(refused(ip.parse().unwrap(), &all), Some(METADATA), "{ip}");
    }
    assert_eq!(refused("169.254.1.1".parse().unwrap(), &all), None);
}

#[test]
fn urls_that_pass_are_read_as_they_will_be_dialled() {
    let strict = guard(false, &[]);
    for (url, name, authority, path) in [
        ("https://Example.COM", "example.com", "example.com", "/"),
        ("HTTPS://example.com:443/a%20b?c=d#e", "example.com", "example.com", "/a%20b?c=d"),
        ("https://example.com:8443/x/../y", "example.com", "example.com:8443", "/y"),
        ("https://example.com./", "example.com", "example.com.", "/"),
        ("https://bücher.example/", "xn--bcher-kva.example", "xn--bcher-kva.example", "/"),
        ("https://ｅxample.com/", "example.com", "example.com", "/"),
        ("https://8.8.8.8/", "8.8.8.8", "8.8.8.8", "/"),
        ("https://[2606:4700::1111]:8443/", "2606:4700::1111", "[2606:4700::1111]:8443", "/"),
        ("https://my_service.example/", "my_service.example", "my_service.example", "/"),
    ] {
        let target = strict.parse(url).unwrap();
        assert_eq!(
            (target.server_name().as_str(), target.authority.as_str(), target.path.as_str()),
            (name, authority, path),
            "{url}"
        );
    }
    let open = guard(true, &["127.0.0.0/8"]);
    for url in
        ["http://example.com/", "http://127.0.0.1:9000/", "https://127.0.0.1:1/", "https://any.example:9000/"]
    {
        assert!(open.check_url(url).is_ok(), "{url}");
    }
}

#[test]
fn urls_that_are_refused() {
    let strict = guard(false, &[]);
    for url in [
        "",
        "example.com",
        "//example.com",
        "http://example.com",
        "ftp://example.com",
        "file:///etc/passwd",
        "gopher://example.com:443/",
        "javascript:alert(1)",
        "https://",
        "https:///",
        "https://user@example.com",
        "https://user:pw@example.com",
        "https://:pw@example.com",
        "https://a@b@example.com",
        "https://example.com:80",
        "https://example.com:22",
        "https://example.com:0",
        "https://example.com:65536",
        "https://127.0.0.1",
        "https://127.1",
        "https://127.0.0.1.",
        "https://2130706433",
        "https://0x7f000001",
        "https://0x7f.0.0.1",
        "https://0177.0.0.1",
        "https://017700000001",
        "https://127.0x0.00.1",
        "https://１２７.0.0.1",
        "https://127。0。0。1",
        "https://%31%32%37.0.0.1",
        "https://0",
        "https://0.0.0.0",
        "https://256.1.1.1",
        "https://1.2.3.4.5",
        "https://[::1]",
        "https://[::]",
        "https://[::ffff:127.0.0.1]",
        "https://[::ffff:7f00:1]",
        "https://[0:0:0:0:0:ffff:127.0.0.1]",
        "https://[64:ff9b::7f00:1]",
        "https://[fe80::1]",
        "https://[fe80::1%25eth0]",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:a9fe:a9fe]",
        "https://exa\tmple.com",
        "https://exam\nple.com",
        " https://example.com",
        "https://example.com/ ",
        "https://example.com\\@127.0.0.1/",
        "https://exa mple.com",
        "https://a..b",
        "https://ex%00ample.com",
        "https://ex<ample.com",
        "https://①②⑦.0.0.1",
    ] {
        assert!(strict.check_url(url).is_err(), "{url}");
    }
    assert!(strict.check_url(&format!("https://example.com/{}", "a".repeat(2048))).is_err());
    assert!(strict.check_url(&format!("https://{}.com", "a".repeat(64))).is_err());
    // A port outside the list is opened only by an address inside allow_networks.
    let open = guard(false, &["10.0.0.0/8"]);
    let target = open.parse("https://any.example:9000/").unwrap();
    assert!(open.admit(&target, "10.0.0.1".parse().unwrap()).is_ok());
    assert!(open.admit(&target, "8.8.8.8".parse().unwrap()).is_err());
    assert!(open.check_url("http://10.0.0.1/").is_err());
}

#[test]
fn lengths_and_ports_are_met_exactly() {
    let strict = guard(false, &[]);
    assert!(strict.check_url("https://ex*mple.com").is_err());
}

#[test]
fn what_is_as_long_as_allowed_passes_and_each_scheme_opens_its_own_ports() {
    let strict = guard(false, &[]);
    for (length, passes) in [(2028, true), (2029, false)] {
        let url = format!("https://example.com/{}", "a".repeat(length));
        assert_eq!(strict.check_url(&url).is_ok(), passes, "{} bytes", url.len());
    }
    let labels = |last: usize| format!("https://{0}.{0}.{0}.{1}/", "a".repeat(63), "b".repeat(last));
    assert!(strict.check_url(&labels(61)).is_ok() && strict.check_url(&labels(62)).is_err());
    // plain http opens its own port and no other, and that of no https
    let plain = guard(true, &[]);
    for (url, passes) in [
        ("http://example.com/", true),
        ("http://example.com:443/", true),
        ("http://example.com:9000/", false),
        ("https://example.com:80/", false),
    ] {
        assert_eq!(plain.check_url(url).is_ok(), passes, "{url}");
    }
    let refusal = plain.check_url("http://example.com:9000/").unwrap_err();
    assert_eq!(refusal, "the port 9000 is refused (egress.ports)");
}
