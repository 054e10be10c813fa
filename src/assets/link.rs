//! Links that prove themselves and expire: no session, no lookup, the same on every replica.
//!
//! The signature is HMAC-SHA256 over what the link is for (`v1`: to read; `upload`: to send one picture to), the
//! path and the expiry, one a line; so no link does what another is for. A link to read lives to the
//! end of the current hour and [`LIFE_AFTER_THE_HOUR`] beyond, so that all links to one file made
//! within an hour are the same text: answers stay comparable and caches useful.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::error::AssetError;

/// The shortest life of a link; it lives less than an hour longer.
pub const LIFE_AFTER_THE_HOUR: Duration = Duration::from_secs(24 * 60 * 60);

const HOUR_SECONDS: u64 = 60 * 60;

/// What a link to read is for, as it is signed.
const READ: &str = "v1";

/// What a link of an upload is for, as it is signed.
const UPLOAD: &str = "upload";

/// A link to one asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The whole address, for anyone who holds it.
    pub url: String,
    /// From when on the link is refused.
    pub expires_at: SystemTime,
}

/// Makes and checks links.
#[derive(Clone)]
pub struct Links {
    key: Hmac<Sha256>,
    files_url: String,
    uploads_url: String,
}

impl Links {
    /// Links below `{public_url}/files/` and `{public_url}/uploads/`, signed with `secret`.
    #[must_use]
    pub fn new(secret: &[u8; 32], public_url: &str) -> Self {
        let public_url = public_url.trim_end_matches('/');
        Self {
            key: Hmac::new_from_slice(secret).expect("HMAC takes keys of every length"),
            files_url: format!("{public_url}/files"),
            uploads_url: format!("{public_url}/uploads"),
        }
    }

    /// The link to `path` for everyone who asks within the hour of `now`.
    #[must_use]
    pub fn link(&self, path: &str, now: SystemTime) -> Link {
        let hours = unix_seconds(now) / HOUR_SECONDS;
        let expires = (hours + 1) * HOUR_SECONDS + LIFE_AFTER_THE_HOUR.as_secs();
        self.sign(READ, &self.files_url, path, expires)
    }

    /// The link to send the picture of the upload at `path` to, until then.
    #[must_use]
    pub fn for_upload(&self, path: &str, until: SystemTime) -> Link {
        self.sign(UPLOAD, &self.uploads_url, path, unix_seconds(until))
    }

    fn sign(&self, purpose: &str, base: &str, path: &str, expires: u64) -> Link {
        let mac = self.mac(purpose, path, expires);
        let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        Link {
            url: format!("{base}/{path}?expires={expires}&signature={signature}"),
            expires_at: UNIX_EPOCH + Duration::from_secs(expires),
        }
    }

    /// Whether an address is that of one of our files, good or not.
    pub fn is_own(&self, url: &str) -> bool {
        url.strip_prefix(&self.files_url)
            .is_some_and(|rest| rest.starts_with('/'))
    }

    /// The path that a whole link leads to.
    ///
    /// # Errors
    /// [`AssetError::LinkInvalid`] and [`AssetError::LinkExpired`].
    pub fn follow<'u>(&self, url: &'u str, now: SystemTime) -> Result<&'u str, AssetError> {
        let (path, expires, signature) = self.parts(url).ok_or(AssetError::LinkInvalid)?;
        self.verify(path, expires, signature, now)?;
        Ok(path)
    }

    /// The parts of a link as [`Links::link`] writes it.
    fn parts<'u>(&self, url: &'u str) -> Option<(&'u str, u64, &'u str)> {
        let rest = url.strip_prefix(&self.files_url)?.strip_prefix('/')?;
        let (path, query) = rest.split_once("?expires=")?;
        let (expires, signature) = query.split_once("&signature=")?;
        Some((path, expires.parse().ok()?, signature))
    }

    /// Whether the parts of a link belong together and its time is not over.
    ///
    /// # Errors
    /// [`AssetError::LinkInvalid`] and [`AssetError::LinkExpired`]. Expiry is told only to those
    /// whose signature is right.
    pub fn verify(
        &self,
        path: &str,
        expires: u64,
        signature: &str,
        now: SystemTime,
    ) -> Result<(), AssetError> {
        match self.check(READ, path, expires, signature, now) {
            Standing::Good => Ok(()),
            Standing::Forged => Err(AssetError::LinkInvalid),
            Standing::Expired => Err(AssetError::LinkExpired),
        }
    }

    /// The same for the link of an upload.
    ///
    /// # Errors
    /// [`AssetError::UploadLinkInvalid`] and [`AssetError::UploadLinkExpired`].
    pub fn verify_upload(
        &self,
        path: &str,
        expires: u64,
        signature: &str,
        now: SystemTime,
    ) -> Result<(), AssetError> {
        match self.check(UPLOAD, path, expires, signature, now) {
            Standing::Good => Ok(()),
            Standing::Forged => Err(AssetError::UploadLinkInvalid),
            Standing::Expired => Err(AssetError::UploadLinkExpired),
        }
    }

    fn check(
        &self,
        purpose: &str,
        path: &str,
        expires: u64,
        signature: &str,
        now: SystemTime,
    ) -> Standing {
        let mac = self.mac(purpose, path, expires);
        let signature = URL_SAFE_NO_PAD.decode(signature).ok();
        // `verify_slice` compares in constant time.
        let is_ours = signature.is_some_and(|signature| mac.verify_slice(&signature).is_ok());
        if !is_ours {
            return Standing::Forged;
        }
        if unix_seconds(now) >= expires {
            return Standing::Expired;
        }
        Standing::Good
    }

    fn mac(&self, purpose: &str, path: &str, expires: u64) -> Hmac<Sha256> {
        self.key
            .clone()
            .chain_update(format!("{purpose}\n{path}\n{expires}"))
    }
}

/// What a signature and a time make of a link.
enum Standing {
    Good,
    Forged,
    Expired,
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 1_700_002_800;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn links_of_one_hour_are_equal_and_live_a_day() {
        let links = Links::new(&[7; 32], "https://piooy.test/");
        let first = links.link("a/b", at(HOUR));
        assert_eq!(first, links.link("a/b", at(HOUR + 3599)));
        assert_eq!(first.expires_at, at(HOUR + 25 * 3600));
        assert_ne!(first, links.link("a/b", at(HOUR + 3600)));
        assert_ne!(first.url, links.link("a/c", at(HOUR)).url);

        let (path, expires, signature) = links.parts(&first.url).expect("a link");
        assert_eq!(path, "a/b");
        assert!(
            links
                .verify(path, expires, signature, at(expires - 1))
                .is_ok()
        );
        assert!(matches!(
            links.verify(path, expires, signature, at(expires)),
            Err(AssetError::LinkExpired)
        ));
    }

    #[test]
    fn a_link_is_followed_where_it_leads() {
        let links = Links::new(&[7; 32], "https://piooy.test");
        let Link { url, expires_at } = links.link("a/b", at(HOUR));
        assert_eq!(links.follow(&url, at(HOUR)).expect("is good"), "a/b");
        let late = links.follow(&url, expires_at);
        assert!(matches!(late, Err(AssetError::LinkExpired)), "{late:?}");
        let others = [
            url.replace("a/b", "a/c"),
            url.replace("piooy.test", "evil.test"),
            url.replace("&signature", "&x"),
            String::new(),
        ];
        for other in others {
            let refused = links.follow(&other, at(HOUR));
            assert!(matches!(refused, Err(AssetError::LinkInvalid)), "{other}");
        }
    }

    #[test]
    fn no_link_does_what_another_is_for() {
        let links = Links::new(&[7; 32], "https://piooy.test");
        let read = links.link("a/b", at(HOUR));
        let (_, expires, signature) = links.parts(&read.url).expect("a link");
        let misused = links.verify_upload("a/b", expires, signature, at(HOUR));
        assert!(matches!(misused, Err(AssetError::UploadLinkInvalid)));

        let upload = links.for_upload("a/b", at(HOUR + 60)).url;
        let (start, signature) = upload.split_once("&signature=").expect("a signature");
        let expires = HOUR + 60;
        assert_eq!(
            start,
            format!("https://piooy.test/uploads/a/b?expires={expires}")
        );
        let now = |now| links.verify_upload("a/b", expires, signature, at(now));
        assert!(now(HOUR + 59).is_ok());
        assert!(matches!(now(HOUR + 60), Err(AssetError::UploadLinkExpired)));
        let misused = links.verify("a/b", expires, signature, at(HOUR));
        assert!(matches!(misused, Err(AssetError::LinkInvalid)));
    }

    #[test]
    fn a_changed_part_makes_a_link_invalid() {
        let links = Links::new(&[7; 32], "https://piooy.test");
        let link = links.link("a/b", at(HOUR));
        let (path, expires, signature) = links.parts(&link.url).expect("a link");
        let other = Links::new(&[8; 32], "https://piooy.test");
        let answers = [
            links.verify("a/c", expires, signature, at(HOUR)),
            links.verify(path, expires + 1, signature, at(HOUR)),
            links.verify(path, expires, &signature[1..], at(HOUR)),
            links.verify(path, expires, "", at(HOUR)),
            links.verify(path, expires, "not base64!", at(HOUR)),
            other.verify(path, expires, signature, at(HOUR)),
            // A wrong signature is not told that its time would be over.
            links.verify("a/c", expires, signature, at(expires)),
        ];
        for answer in answers {
            assert!(matches!(answer, Err(AssetError::LinkInvalid)), "{answer:?}");
        }
    }
}
