//! RSA public keys (RFC 8017 A.1.1): sizes, exponents and the weaknesses a modulus shows.
//!
//! **Invariant:** a modulus that is taken is odd, of 2048 to 4096 bits, without factors below 752
//! (NIST SP 800-89 §5.3.3), without two factors that Fermat's method finds, and not of the shape
//! that ROCA's generator makes. **Not here:** published keys.

use x509_parser::num_bigint::BigUint;

use super::CsrError;
use crate::der::{Element, INTEGER, SEQUENCE};

const BITS_MIN: u32 = 2048;
const BITS_MAX: u32 = 4096;
const EXPONENT_MIN: u64 = 65_537;
/// The verifier takes no exponent of more than 33 bits: with a large one a signature costs its
/// checker as much as its maker.
const EXPONENT_BITS_MAX: u32 = 33;
/// Factors below this are looked for.
const FACTOR_LIMIT: u32 = 752;
/// Primes up to here divide the number that ROCA's primes are built on, for every key size.
const ROCA_PRIME_MAX: u32 = 167;
/// Tries for two factors that are close: what public authorities make.
const FERMAT_ROUNDS: u32 = 100;

/// Checks an RSAPublicKey and gives its modulus, big-endian without leading zeros.
///
/// # Errors
/// The first fact for which it is refused.
pub(super) fn check(key: &[u8]) -> Result<&[u8], CsrError> {
    let (modulus, exponent) = numbers(key).ok_or(CsrError::MalformedKey)?;
    let bits = bit_length(modulus);
    if bits < BITS_MIN {
        return Err(CsrError::RsaTooSmall(bits));
    }
    if bits > BITS_MAX {
        return Err(CsrError::RsaTooLarge(bits));
    }
    if bit_length(exponent) > EXPONENT_BITS_MAX {
        return Err(CsrError::RsaExponent);
    }
    let exponent = exponent.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    if exponent < EXPONENT_MIN || exponent % 2 == 0 {
        return Err(CsrError::RsaExponent);
    }
    let number = BigUint::from_bytes_be(modulus);
    if primes(FACTOR_LIMIT).any(|prime| &number % prime == BigUint::ZERO) {
        return Err(CsrError::RsaSmallFactor);
    }
    if is_roca(&number) {
        return Err(CsrError::RsaRoca);
    }
    if has_close_factors(&number) {
        return Err(CsrError::RsaCloseFactors);
    }
    Ok(modulus)
}

/// Modulus and exponent, each positive and without leading zeros.
fn numbers(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut sequence = Element::only(key).and_then(|key| key.inside(SEQUENCE)).ok()?;
    let mut positive = || match sequence.read(INTEGER).ok()?.content {
        [0, rest @ ..] if !rest.is_empty() => Some(rest),
        all @ [1..=0x7f, ..] => Some(all),
        _ => None,
    };
    let numbers = (positive()?, positive()?);
    sequence.end().ok()?;
    Some(numbers)
}

fn bit_length(number: &[u8]) -> u32 {
    let whole = u32::try_from(number.len()).unwrap_or(u32::MAX).saturating_mul(8);
    whole - number.first().map_or(0, |first| first.leading_zeros())
}

fn primes(below: u32) -> impl Iterator<Item = u32> {
    (2..below).filter(|number| (2..*number).all(|divisor| number % divisor != 0))
}

/// ROCA's primes are powers of 65537 modulo each small prime, and so is their product
/// (Nemec and others, "The Return of Coppersmith's Attack", §2.3). A sound key looks like that
/// once in more than 2^27.
fn is_roca(modulus: &BigUint) -> bool {
    primes(ROCA_PRIME_MAX + 1).all(|prime| {
        let rest = modulus % prime;
        let powers = core::iter::successors(Some(1), |power| Some(power * 65_537 % prime));
        powers.take(prime as usize).any(|power| rest == BigUint::from(power))
    })
}

/// Fermat's method (CVE-2022-26320): n = a² − b² with a little above the root of n.
fn has_close_factors(modulus: &BigUint) -> bool {
    let mut root = modulus.sqrt();
    if &root * &root == *modulus {
        return true;
    }
    for _ in 0..FERMAT_ROUNDS {
        root += 1_u32;
        let square = &root * &root - modulus;
        let other = square.sqrt();
        if &other * &other == square {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use super::*;

    fn key(modulus: &BigUint, exponent: u64) -> Vec<u8> {
        yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_bigint_bytes(&modulus.to_bytes_be(), true);
                writer.next().write_u64(exponent);
            });
        })
    }

    fn refusal(modulus: &BigUint, exponent: u64) -> Option<CsrError> {
        check(&key(modulus, exponent)).err()
    }

    fn one() -> BigUint {
        BigUint::from(1_u32)
    }

    /// Odd, of so many bits, with no small factor, and not special in any other way.
    fn plain(bits: u32) -> BigUint {
        let mut number = (one() << (bits - 1)) + (one() << (bits / 3));
        number += 1_u32;
        while primes(FACTOR_LIMIT).any(|prime| &number % prime == BigUint::ZERO) || is_roca(&number)
        {
            number += 2_u32;
        }
        number
    }

    #[test]
    fn sizes_and_exponents_are_bounded() {
        for bits in [2048, 3072, 4096] {
            let modulus = plain(bits);
            let bytes = key(&modulus, 65_537);
            let taken = check(&bytes).unwrap();
            assert_eq!(taken, modulus.to_bytes_be());
        }
        assert_eq!(refusal(&plain(2047), 65_537), Some(CsrError::RsaTooSmall(2047)));
        assert_eq!(refusal(&plain(4097), 65_537), Some(CsrError::RsaTooLarge(4097)));
        let good = plain(2048);
        assert_eq!(refusal(&good, (1 << 33) - 1), None);
        for exponent in [1, 3, 65_535, 65_536, 65_538, 1 << 33, (1 << 33) + 1] {
            assert_eq!(refusal(&good, exponent), Some(CsrError::RsaExponent), "{exponent}");
        }
    }

    #[test]
    fn moduli_with_small_factors_are_refused() {
        for factor in [2_u32, 3, 751] {
            let modulus = (plain(2048) / factor + 1_u32) * factor;
            assert_eq!(refusal(&modulus, 65_537), Some(CsrError::RsaSmallFactor), "{factor}");
        }
    }

    /// The shape of the published generator: k·M + 65537^a mod M, M the product of the primes.
    #[test]
    fn rocas_moduli_are_refused() {
        let product = primes(ROCA_PRIME_MAX + 1).fold(one(), |product, prime| product * prime);
        let prime_like = |a: u32, k: u32| {
            let power = BigUint::from(65_537_u32).modpow(&BigUint::from(a), &product);
            ((BigUint::from(3_u32) << 1022) / &product + k) * &product + power
        };
        let modulus = (1..200).map(|k| prime_like(77, 1) * prime_like(123, 10_000 * k)).find(
            |number: &BigUint| {
                number.bits() >= 2048
                    && primes(FACTOR_LIMIT).all(|prime| number % prime != BigUint::ZERO)
            },
        );
        assert_eq!(refusal(&modulus.unwrap(), 65_537), Some(CsrError::RsaRoca));
    }

    #[test]
    fn close_factors_are_found() {
        let root = plain(1025);
        let modulus = (1_u32..500)
            .map(|distance| &root * &root - BigUint::from(4 * distance * distance))
            .find(|number| primes(FACTOR_LIMIT).all(|prime| number % prime != BigUint::ZERO));
        assert_eq!(refusal(&modulus.unwrap(), 65_537), Some(CsrError::RsaCloseFactors));
    }

    #[test]
    fn malformed_keys_are_refused() {
        let good = key(&plain(2048), 65_537);
        let with_more = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_bigint_bytes(&plain(2048).to_bytes_be(), true);
                writer.next().write_u32(65_537);
                writer.next().write_u32(1);
            });
        });
        let negative = yasna::construct_der(|writer| {
            writer.write_sequence(|writer| {
                writer.next().write_bigint_bytes(&plain(2048).to_bytes_be(), false);
                writer.next().write_u32(65_537);
            });
        });
        let zero = [0x30, 6, 2, 1, 0, 2, 1, 0].to_vec();
        for bad in [&good[1..], &good[..good.len() - 1], &with_more, &negative, &zero, &[]] {
            assert_eq!(check(bad).err(), Some(CsrError::MalformedKey));
        }
    }
}
