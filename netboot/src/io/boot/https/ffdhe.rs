//! Diffie-Hellman over a prime field for TLS 1.2 (RFC 7919, `ffdhe2048`), which firmware has whose TLS knows no curves. rustls has its
//! place in the handshake, and no arithmetic for it.
//!
//! Every connection has a secret of its own, and what is done with a secret takes the same time whatever it is.

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::zeroize::Zeroizing;
use crypto_bigint::{Odd, U256, U2048};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::crypto::ring::cipher_suite as ring_suites;
use rustls::crypto::{
    ActiveKeyExchange, CipherSuiteCommon, GetRandomFailed, KeyExchangeAlgorithm, SharedSecret, SupportedKxGroup,
};
use rustls::ffdhe_groups::{FFDHE2048, FfdheGroup};
use rustls::{CipherSuite, Error, NamedGroup, PeerMisbehaved, ProtocolVersion, SupportedCipherSuite, Tls12CipherSuite};
use std::sync::LazyLock;

/// Bits of a secret: at least 225 (RFC 7919 §5.2).
const SECRET_BITS: u32 = 256;
/// Octets of the prime, and so of everything that is sent.
const OCTETS: usize = 256;

/// The group.
#[derive(Debug)]
struct Ffdhe2048;

/// To be listed beside the curves.
pub(super) static GROUP: &dyn SupportedKxGroup = &Ffdhe2048;

/// One exchange.
struct Exchange {
    secret: Zeroizing<U256>,
    public: [u8; OCTETS],
}

static PARAMS: LazyLock<Option<FixedMontyParams<{ U2048::LIMBS }>>> = LazyLock::new(|| {
    let prime = Odd::new(number(FFDHE2048.p)?);
    prime.into_option().map(FixedMontyParams::new)
});

/// The suites of DHE that have an AEAD: those of ECDHE with another exchange.
static SUITES: LazyLock<Vec<Tls12CipherSuite>> = LazyLock::new(|| {
    let of = |suite, like: &SupportedCipherSuite| match like {
        SupportedCipherSuite::Tls12(like) => Some(Tls12CipherSuite {
            common: CipherSuiteCommon {
                suite,
                hash_provider: like.common.hash_provider,
                confidentiality_limit: like.common.confidentiality_limit,
            },
            kx: KeyExchangeAlgorithm::DHE,
            prf_provider: like.prf_provider,
            sign: like.sign,
            aead_alg: like.aead_alg,
        }),
        SupportedCipherSuite::Tls13(_) => None,
    };
    let strong =
        of(CipherSuite::TLS_DHE_RSA_WITH_AES_256_GCM_SHA384, &ring_suites::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384);
    let quick =
        of(CipherSuite::TLS_DHE_RSA_WITH_AES_128_GCM_SHA256, &ring_suites::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256);
    strong.into_iter().chain(quick).collect()
});

/// The suites that have this exchange, to be listed behind the others.
pub(super) fn suites() -> impl Iterator<Item = SupportedCipherSuite> {
    SUITES.iter().map(SupportedCipherSuite::Tls12)
}

impl SupportedKxGroup for Ffdhe2048 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut octets = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(octets.as_mut_slice()).map_err(|_| GetRandomFailed)?;
        let secret = Zeroizing::new(U256::from_be_slice(octets.as_slice()));
        let public = power(number(FFDHE2048.g), &secret)?;
        Ok(Box::new(Exchange { secret, public }))
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        Some(FFDHE2048)
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::FFDHE2048
    }

    /// Who has TLS 1.3 has curves.
    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_2
    }
}

impl ActiveKeyExchange for Exchange {
    /// RFC 7919 §5.1: 0, 1 and p-1 are of no use, and the prime is a safe one, so that nothing else is of a small group.
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let last = number(FFDHE2048.p).map(|prime| prime.wrapping_sub(&U2048::ONE));
        let peer = number(peer).filter(|peer| *peer > U2048::ONE && last.is_some_and(|last| *peer < last));
        if peer.is_none() {
            return Err(PeerMisbehaved::InvalidKeyShare.into());
        }
        let shared = Zeroizing::new(power(peer, &self.secret)?);
        Ok(SharedSecret::from(shared.as_slice()))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        Some(FFDHE2048)
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::FFDHE2048
    }
}

/// A number as it is sent; leading zeros may lack (RFC 5246 §7.4.7.2).
fn number(octets: &[u8]) -> Option<U2048> {
    let mut whole = [0; OCTETS];
    whole.get_mut(OCTETS.checked_sub(octets.len())?..)?.copy_from_slice(octets);
    Some(U2048::from_be_slice(&whole))
}

fn power(base: Option<U2048>, secret: &U256) -> Result<[u8; OCTETS], Error> {
    let (base, params) = base.zip(PARAMS.as_ref()).ok_or_else(|| Error::General("no group ffdhe2048".to_owned()))?;
    let done = FixedMontyForm::new(&base, params).pow_bounded_exp(secret, SECRET_BITS).retrieve();
    Ok(done.to_be_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(secret: U256) -> Box<Exchange> {
        Box::new(Exchange { secret: Zeroizing::new(secret), public: [0; OCTETS] })
    }

    /// Both sides come to the same secret, and two exchanges to two.
    #[test]
    fn both_sides_agree() {
        let (one, other) = (GROUP.start().unwrap(), GROUP.start().unwrap());
        let (of_one, of_other) = (one.pub_key().to_vec(), other.pub_key().to_vec());
        assert_ne!(of_one, of_other);
        let shared = one.complete(&of_other).unwrap();
        assert_eq!(shared.secret_bytes(), other.complete(&of_one).unwrap().secret_bytes());
        assert_eq!(shared.secret_bytes().len(), OCTETS);
    }

    /// RFC 7919 §5.1 and §3: what is of a small group, and what is no number of the group, ends the handshake.
    #[test]
    fn values_of_small_groups_are_refused() {
        let prime = U2048::from_be_slice(FFDHE2048.p);
        let octets = |number: U2048| -> [u8; OCTETS] { number.to_be_bytes().into() };
        let last = prime.wrapping_sub(&U2048::ONE);
        for wrong in [U2048::ZERO, U2048::ONE, last, prime, U2048::MAX] {
            assert!(exchange(U256::from_u8(7)).complete(&octets(wrong)).is_err());
        }
        let too_long = [&[0_u8][..], &octets(U2048::from_u8(2))].concat();
        assert!(exchange(U256::from_u8(7)).complete(&too_long).is_err());
        assert!(exchange(U256::from_u8(7)).complete(&[]).is_err());
        // 3 to the 7th is 2187 is 0x88b; a value without its leading zeros is the same value.
        for three in [&octets(U2048::from_u8(3))[..], &[3]] {
            let shared = exchange(U256::from_u8(7)).complete(three).unwrap();
            assert_eq!(shared.secret_bytes()[OCTETS - 3..], [0, 0x08, 0x8b]);
        }
        assert!(exchange(U256::from_u8(7)).complete(&octets(last.wrapping_sub(&U2048::ONE))).is_ok());
    }
}
