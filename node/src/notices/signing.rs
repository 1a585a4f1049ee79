//! A target's secret, and what it signs: the scheme of Standard Webhooks (www.standardwebhooks.com), `v1`.
//!
//! A secret follows from the region's key, the target's name and a number that the operator raises to have
//! another one. So no secret is written anywhere, each node of the region has it, and nobody else.
//!
//! **Invariant:** a secret is wiped when dropped and printed only where an operator asks for it. **Not here:**
//! who may ask (`web::notices`).

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use fieldmesh_domain::notifier::Recipient;
use zeroize::Zeroizing;

use crate::sealing::{KEY_BYTES, Key};

/// What messages to one target are signed with.
pub struct Secret(Zeroizing<[u8; KEY_BYTES]>);

impl Secret {
    pub fn new(region_key: &Key, to: &Recipient, generation: u32) -> Self {
        let kind: u8 = match to {
            Recipient::Webhook(_) => 0,
            Recipient::Person(_) => 1,
            Recipient::Subscribers => 2,
        };
        let purpose = [b"webhook secret", &[0, kind][..], to.name().as_bytes()].concat();
        let purpose = [&purpose[..], &[0], &generation.to_be_bytes()].concat();
        Self(Zeroizing::new(region_key.derive(&purpose)))
    }

    /// As the owner of the target enters it.
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("whsec_{}", *Zeroizing::new(STANDARD.encode(*self.0))))
    }

    /// One value of the signature header.
    pub(super) fn sign(&self, id: &str, at_s: u64, body: &[u8]) -> String {
        let mut signed = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &*self.0));
        signed.update(format!("{id}.{at_s}.").as_bytes());
        signed.update(body);
        format!("v1,{}", STANDARD.encode(signed.sign()))
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn the_published_example_comes_out() {
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap_or_default();
        let signed = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, &key),
            b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}",
        );
        assert_eq!(STANDARD.encode(signed), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let mut whole = [0; KEY_BYTES];
        whole[..key.len()].copy_from_slice(&key);
        // A key that is padded with zeros is the same key to an HMAC.
        let secret = Secret(Zeroizing::new(whole));
        let signature =
            secret.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b"{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_target_and_generation_has_its_own() {
        let region = Key::from_bytes(Zeroizing::new([7; KEY_BYTES]));
        let of = |to: Recipient, generation| Secret::new(&region, &to, generation).text();
        let hook = of(Recipient::Webhook("a".into()), 1);
        assert!(hook.starts_with("whsec_"));
        assert_eq!(hook, of(Recipient::Webhook("a".into()), 1));
        for other in [
            of(Recipient::Webhook("a".into()), 2),
            of(Recipient::Webhook("b".into()), 1),
            of(Recipient::Person("a".into()), 1),
        ] {
            assert_ne!(hook, other);
        }
    }
}
