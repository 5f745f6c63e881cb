//! Session tickets (RFC 8446, 4.6.1; RFC 5077) that any worker of the cluster can open.
//!
//! Their keys are derived from what all workers know ([`Secrets`]), for one purpose each, so
//! they change when that changes: a ticket is good until the secret after the next is made. A ticket is the name of its key, a
//! random salt, and the session, encrypted with AES-256-GCM under a key that is derived with the salt: so
//! each ticket has a key of its own, and the workers need not agree on nonces.
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ServerConfig;
use rustls::server::ProducesTickets;

use super::{Secret, Secrets};
use crate::Worker;

const NAME: usize = 16;
const SALT: usize = 32;
/// No client may be told more: a week (RFC 8446, 4.6.1).
const LONGEST: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A session that a client has begun with this worker any other takes up again that shares tickets for the same purpose. Who
/// resumes one is not asked for a certificate again: what was agreed on has to be the purpose, or part of it.
///
/// What the user has chosen stays: tickets of one's own, no resumption at all, or early data, which a server must be able to
/// refuse the second time, and tickets that any worker takes cannot tell.
pub fn share(config: &mut ServerConfig, purpose: &[u8], worker: &Worker) {
    if let (true, Some(secrets)) = (is_left_to_us(config), worker.secrets()) {
        config.ticketer = Arc::new(SharedTickets::new(secrets.clone(), purpose));
    }
}

fn is_left_to_us(config: &ServerConfig) -> bool {
    !config.ticketer.enabled() && config.session_storage.can_cache() && config.max_early_data_size == 0
}

/// Makes and opens them, in one worker.
#[derive(Debug)]
struct SharedTickets {
    secrets: Secrets,
    purpose: Vec<u8>,
    /// Of the last secret that was seen.
    keys: RwLock<Keys>,
}

impl SharedTickets {
    /// Who has the same secrets and the same purpose opens the same tickets.
    fn new(secrets: Secrets, purpose: &[u8]) -> Self {
        let keys = RwLock::new(Keys::derive(&secrets.read(), purpose));
        Self { secrets, purpose: purpose.to_vec(), keys }
    }

    fn keys(&self) -> RwLockReadGuard<'_, Keys> {
        let known = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        if known.number == self.secrets.number() {
            return known;
        }
        drop(known);
        // What was derived from an older secret is gone with this.
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) =
            Keys::derive(&self.secrets.read(), &self.purpose);
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProducesTickets for SharedTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        // For so long it is good in any case.
        self.secrets.rotation().min(LONGEST).as_secs().max(1) as u32
    }

    fn encrypt(&self, session: &[u8]) -> Option<Vec<u8>> {
        self.keys().seal(session)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.keys().open(ticket)
    }
}

/// Keys of a secret and of the one before it.
struct Keys {
    number: u64,
    newest: Key,
    previous: Option<Key>,
}

struct Key {
    /// Tells which key a ticket is of.
    name: [u8; NAME],
    from: Prk,
}

impl Keys {
    fn derive(secret: &Secret, purpose: &[u8]) -> Self {
        let key = |secret: &[u8]| Key::derive(secret, purpose);
        Self {
            number: secret.number,
            newest: key(&secret.newest),
            previous: secret.previous.as_ref().map(|secret| key(secret)),
        }
    }

    fn seal(&self, session: &[u8]) -> Option<Vec<u8>> {
        let mut ticket = [0; NAME + SALT].to_vec();
        ticket[..NAME].copy_from_slice(&self.newest.name);
        SystemRandom::new().fill(&mut ticket[NAME..]).ok()?;
        let key = self.newest.of_ticket(&ticket[NAME..])?;
        let mut sealed = session.to_vec();
        key.seal_in_place_append_tag(no_nonce(), Aad::from(&ticket), &mut sealed).ok()?;
        ticket.extend(sealed);
        Some(ticket)
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (head, sealed) = ticket.split_at_checked(NAME + SALT)?;
        let (name, salt) = head.split_at(NAME);
        let mut keys = [Some(&self.newest), self.previous.as_ref()].into_iter().flatten();
        let key = keys.find(|key| key.name == name)?.of_ticket(salt)?;
        let mut session = sealed.to_vec();
        let len = key.open_in_place(no_nonce(), Aad::from(head), &mut session).ok()?.len();
        session.truncate(len);
        Some(session)
    }
}

impl Key {
    fn derive(secret: &[u8], purpose: &[u8]) -> Self {
        let from = Salt::new(HKDF_SHA256, b"cluster session tickets").extract(&[secret, purpose].concat());
        let mut name = [0; NAME];
        from.expand(&[b"name"], Len(NAME))
            .and_then(|name_of| name_of.fill(&mut name))
            .expect("HKDF gives more than 16 bytes");
        Self { name, from }
    }

    fn of_ticket(&self, salt: &[u8]) -> Option<LessSafeKey> {
        let info: [&[u8]; 2] = [b"ticket", salt];
        let key = self.from.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(key)))
    }
}

/// Each key is used once.
fn no_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

struct Len(usize);

impl KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys(number {})", self.number)
    }
}

#[cfg(test)]
mod tests {
    use rustls::crypto::ring::{Ticketer, default_provider};
    use rustls::server::{NoServerSessionStorage, ResolvesServerCertUsingSni};

    use super::*;

    const SESSION: &[u8] = b"a session";

    /// What all workers know when the `number`th secret is the newest.
    fn keys(number: u64, purpose: &str) -> Keys {
        let of = |number: u64| [number as u8; 32];
        let previous = number.checked_sub(1).map(of);
        Keys::derive(&Secret { number, newest: of(number), previous }, purpose.as_bytes())
    }

    #[test]
    fn what_the_user_has_chosen_stays() {
        let config = || {
            ServerConfig::builder_with_provider(Arc::new(default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()))
        };
        assert!(is_left_to_us(&config()));
        let (mut tickets, mut no_session, mut early) = (config(), config(), config());
        tickets.ticketer = Ticketer::new().unwrap();
        no_session.session_storage = Arc::new(NoServerSessionStorage {});
        early.max_early_data_size = 1024;
        assert!([tickets, no_session, early].iter().all(|config| !is_left_to_us(config)));
    }

    #[test]
    fn a_ticket_is_good_until_the_secret_after_the_next() {
        let ticket = keys(5, "shop").seal(SESSION).unwrap();
        let opened: Vec<_> = (3..9).map(|number| keys(number, "shop").open(&ticket)).collect();
        let session = Some(SESSION.to_vec());
        assert_eq!(opened, [None, None, session.clone(), session, None, None]);
    }

    #[test]
    fn no_two_tickets_are_alike_and_nothing_of_the_session_is_in_them() {
        let keys = keys(1, "shop");
        let (one, other) = (keys.seal(SESSION).unwrap(), keys.seal(SESSION).unwrap());
        assert_ne!(one[NAME..], other[NAME..]);
        assert!(!one.windows(SESSION.len()).any(|window| window == SESSION));
    }

    #[test]
    fn a_ticket_is_for_its_purpose_alone() {
        let ticket = keys(1, "shop").seal(SESSION).unwrap();
        assert_eq!(keys(1, "admin").open(&ticket), None);
        // Nor with the right name on it.
        let mut renamed = keys(1, "admin").seal(SESSION).unwrap();
        renamed[NAME..].copy_from_slice(&ticket[NAME..]);
        assert_eq!(keys(1, "admin").open(&renamed), None);
    }

    #[test]
    fn what_a_client_makes_up_is_no_ticket() {
        let keys = keys(1, "shop");
        let ticket = keys.seal(SESSION).unwrap();
        assert_eq!(keys.open(&ticket), Some(SESSION.to_vec()));
        for len in 0..ticket.len() {
            assert_eq!(keys.open(&ticket[..len]), None);
        }
        for at in 0..ticket.len() {
            let mut other = ticket.clone();
            other[at] ^= 1;
            assert_eq!(keys.open(&other), None, "byte {at}");
        }
        assert_eq!(keys.open(&[0; 4096]), None);
    }
}
