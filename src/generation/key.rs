//! Idempotency keys as the database keeps them: never the key itself.
//!
//! A key belongs to an account, and in it to the world of test keys or to that of live ones: what was
//! rehearsed with a key can be done for real with the same one.

use std::collections::HashSet;

use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A hash, as far as it is kept: 96 bits, of which no two will ever be the same by chance.
pub(super) type Hash = [u8; 12];

/// How many bits of a key's hash its index entry has; the rest of the 63 count weeks. See the
/// migration `V4__batches.sql`.
const BITS: u32 = 47;

/// An idempotency key and what it was used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    /// Of account, world and key, by SHA-256.
    pub hash: Hash,
    /// Of what was asked, by SHA-256.
    pub request: Hash,
}

impl Key {
    /// The key `text` of an account, for a request with that SHA-256.
    pub fn new(account_id: Uuid, test: bool, text: &str, request: &[u8; 32]) -> Self {
        let whole = Sha256::new()
            .chain_update(account_id)
            .chain_update([u8::from(test)])
            .chain_update(text)
            .finalize();
        Self {
            hash: kept(&whole.into()),
            request: kept(request),
        }
    }

    /// The bits by which an index finds it, or by which it does where another key has taken those.
    pub fn bits(&self) -> [i64; 2] {
        let (head, _) = self.hash.split_at(8);
        let head = i64::from_be_bytes(head.try_into().expect("these are eight bytes"));
        let bits = head & ((1 << BITS) - 1);
        [bits, bits ^ 1]
    }

    /// Its index entry when it is used in that week, or the one that it has where another key has taken that.
    pub fn codes(&self, week: i64) -> [i64; 2] {
        self.bits().map(|bits| (week << BITS) | bits)
    }

    /// As the row keeps it.
    pub fn to_bytes(self) -> Vec<u8> {
        [self.hash, self.request].concat()
    }

    /// Reads that.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (hash, request) = bytes.split_at_checked(size_of::<Hash>())?;
        Some(Self {
            hash: hash.try_into().ok()?,
            request: request.try_into().ok()?,
        })
    }
}

/// The index entries of keys that are used in that week, each at a place of its own and none at one that is
/// `taken`.
pub(super) fn places(
    keys: impl Iterator<Item = Option<Key>>,
    week: i64,
    mut taken: HashSet<i64>,
) -> Vec<Option<i64>> {
    let mut place = |key: Key| {
        let [first, second] = key.codes(week);
        let code = if taken.contains(&first) {
            second
        } else {
            first
        };
        taken.insert(code);
        code
    };
    keys.map(|key| key.map(&mut place)).collect()
}

fn kept(whole: &[u8; 32]) -> Hash {
    let (head, _) = whole.split_at(size_of::<Hash>());
    head.try_into().expect("the lengths are the same")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_belongs_to_its_account_and_world() {
        let key = |account, test, text| Key::new(account, test, text, &[7; 32]).hash;
        let this = key(Uuid::nil(), false, "order 1");
        assert_eq!(this, key(Uuid::nil(), false, "order 1"));
        assert_ne!(this, key(Uuid::max(), false, "order 1"));
        assert_ne!(this, key(Uuid::nil(), true, "order 1"));
        assert_ne!(this, key(Uuid::nil(), false, "order 2"));
    }

    #[test]
    fn what_a_row_keeps_is_read_back() {
        let key = Key::new(Uuid::nil(), false, "order 1", &[7; 32]);
        assert_eq!(Key::from_bytes(&key.to_bytes()), Some(key));
        assert_eq!(Key::from_bytes(&[0; 23]), None);
    }

    #[test]
    fn keys_that_share_their_bits_do_not_share_a_place() {
        let key = |head: u8, tail: u8| {
            let mut hash = [head; 12];
            hash[11] = tail;
            let request = [7; 12];
            Some(Key { hash, request })
        };
        let of = |keys: [Option<Key>; 4], taken: &[i64]| {
            places(keys.into_iter(), 2_900, taken.iter().copied().collect())
        };
        let [first, second] = key(1, 0).expect("is a key").codes(2_900);
        let [other, _] = key(9, 0).expect("is a key").codes(2_900);
        let keys = [key(1, 0), None, key(9, 0), key(1, 1)];
        let expected = [Some(first), None, Some(other), Some(second)];
        assert_eq!(of(keys, &[]), expected);
        let keys = [None, key(1, 1), None, key(9, 0)];
        let expected = [None, Some(second), None, Some(other)];
        assert_eq!(of(keys, &[first]), expected);
    }

    #[test]
    fn weeks_stay_apart() {
        let key = Key::new(Uuid::nil(), false, "order 1", &[7; 32]);
        let highest = Key {
            hash: [255; 12],
            ..key
        };
        let most = highest.codes(2_900).into_iter().max();
        assert!(most < key.codes(2_901).into_iter().min());
        assert!(
            key.codes(i64::from(u16::MAX))[0] > 0,
            "for a thousand years"
        );
    }
}
