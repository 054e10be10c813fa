//! What is said of an address before anything is sent, and of a name once it is looked up.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::dns::Resolve;

use super::error::NoAddress;
use super::resolver::{Checked, Resolver};
use super::*;

const PUBLIC: Policy = Policy {
    private_allowed: false,
};

fn egress(policy: Policy) -> Egress {
    // Only the first of all tests in this process puts it there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Egress::new(policy).expect("a client")
}

fn checked(egress: &Egress, text: &str) -> Result<(), EgressError> {
    egress.check_url(&Url::parse(text).unwrap_or_else(|_| panic!("{text} is a URL")))
}

#[test]
fn only_plain_web_addresses_are_called() {
    let egress = egress(PUBLIC);
    for good in [
        "https://example.com/a.png",
        "http://example.com:8080/a.png?b=c#d",
        "https://example.com./a.png",
        "https://8.8.8.8/",
        "https://[2001:4860:4860::8888]/",
    ] {
        assert!(checked(&egress, good).is_ok(), "{good}");
    }
    for scheme in [
        "file:///etc/passwd",
        "ftp://example.com/",
        "gopher://example.com/",
        "data:,",
        "javascript:alert(1)",
        "unix:/run/docker.sock",
    ] {
        let refused = checked(&egress, scheme);
        assert!(matches!(refused, Err(EgressError::Scheme)), "{scheme}");
    }
    for user in [
        "https://a@example.com/",
        "https://a:b@example.com/",
        "http://:b@example.com",
    ] {
        let refused = checked(&egress, user);
        assert!(matches!(refused, Err(EgressError::User)), "{user}");
    }
    for port in [
        "http://example.com:25/",
        "https://example.com:22/",
        "http://example.com:0/",
    ] {
        let refused = checked(&egress, port);
        assert!(matches!(refused, Err(EgressError::Port)), "{port}");
    }
}

#[test]
fn no_spelling_of_an_inner_address_is_taken() {
    let egress = egress(PUBLIC);
    for inner in [
        "http://127.0.0.1/",
        "http://127.0.0.1./",
        "http://127.1/",
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://017700000001/",
        "http://%31%32%37.0.0.1/",
        "http://①②⑦.0.0.1/",
        "http://0/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://2852039166/",
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[fd00:ec2::254]/",
        "http://localhost/",
        "http://LOCALHOST:8080/",
        "http://localhost./",
        "http://a.localhost/",
    ] {
        let refused = checked(&egress, inner);
        assert!(
            matches!(refused, Err(EgressError::NoPublicAddress)),
            "{inner}"
        );
    }
}

#[test]
fn where_private_addresses_are_allowed_a_clouds_metadata_is_not() {
    let egress = egress(Policy {
        private_allowed: true,
    });
    for good in [
        "http://127.0.0.1:8080/",
        "http://localhost:8080/",
        "http://[::1]/",
    ] {
        assert!(checked(&egress, good).is_ok(), "{good}");
    }
    for never in [
        "http://169.254.169.254/",
        "http://[fd00:ec2::254]/",
        "http://0.0.0.0/",
    ] {
        let refused = checked(&egress, never);
        assert!(
            matches!(refused, Err(EgressError::NoPublicAddress)),
            "{never}"
        );
    }
}

/// Answers with a public address first and an inner one from then on.
#[derive(Default)]
struct Rebinding {
    asked: AtomicUsize,
}

#[async_trait::async_trait]
impl Resolver for Rebinding {
    async fn lookup(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        let is_first = self.asked.fetch_add(1, Ordering::SeqCst) == 0;
        let address = if is_first { "8.8.8.8" } else { "127.0.0.1" };
        Ok(vec![address.parse().expect("an address")])
    }
}

/// Answers with these always.
struct Fixed(&'static [&'static str]);

#[async_trait::async_trait]
impl Resolver for Fixed {
    async fn lookup(&self, _host: &str) -> io::Result<Vec<IpAddr>> {
        let addresses = self.0.iter().map(|text| text.parse());
        Ok(addresses
            .map(|address| address.expect("an address"))
            .collect())
    }
}

async fn resolved(checked: &Checked) -> Option<Vec<String>> {
    let found = checked.resolve("a.example".parse().expect("a name")).await;
    match found {
        Ok(addresses) => Some(addresses.map(|address| address.ip().to_string()).collect()),
        Err(error) => {
            assert!(error.is::<NoAddress>(), "{error}");
            None
        }
    }
}

fn by(resolver: impl Resolver + 'static) -> Checked {
    Checked {
        policy: PUBLIC,
        resolver: Arc::new(resolver),
    }
}

#[tokio::test]
async fn what_a_name_leads_to_is_checked_every_time() {
    let rebinding = by(Rebinding::default());
    assert_eq!(resolved(&rebinding).await, Some(vec!["8.8.8.8".to_owned()]));
    assert_eq!(resolved(&rebinding).await, None);
}

#[tokio::test]
async fn of_mixed_answers_only_the_public_ones_are_called() {
    let mixed = by(Fixed(&[
        "10.0.0.1",
        "8.8.8.8",
        "::ffff:127.0.0.1",
        "fe80::1",
    ]));
    assert_eq!(resolved(&mixed).await, Some(vec!["8.8.8.8".to_owned()]));
    assert_eq!(resolved(&by(Fixed(&[]))).await, None);
    assert_eq!(resolved(&by(Fixed(&["169.254.169.254"]))).await, None);
}
