//! Keys that are no secret: their private part is published, or nobody needs it.
//!
//! The table holds SHA-256 of what names a key: the public point of a curve, the bytes of an
//! Ed25519 key, the modulus of an RSA key (big-endian, without leading zeros). The test computes
//! each from what is published: the private keys 1 to 16 on P-256 and P-384; RFC 6979 A.2.5 and
//! A.2.6; RFC 9500 §2.1 (testRSA2048, testRSA4096) and §2.3 (testECCP256, testECCP384); RFC 8032
//! §7.1, test 1. **Not here:** keys found elsewhere; a list of those is larger than a program.

use crate::{hex, sha256};

#[rustfmt::skip]
const PUBLISHED: [&str; 39] = [
    "698bea63dc44a344663ff1429aea10842df27b6b991ef25866b2c6c02cdcc5be",
    "a9f300eb5960e89133af7362011a1e26f0e2ea2e36dc402a04af6c192b891a8c",
    "89896264c58fca553508257b18703781fcd99c22a66186aa74f56e76f9b27cbe",
    "617e37f7a48d30a63de6efeaa44faa4832e06c17d000e5499d3c5876cc225080",
    "bf6e3480d3f05753a3173bf500bf0fa34ee460c82d3067131dba040cf3918d9c",
    "e8435051d2bdab7ed5a2fdc17997dc4cf033e630f0b05bf476af89de5ecd5f22",
    "b33e4d1c20df27891225e731ac50234b2a202ec4442427bfbae62ca6a6f393b4",
    "9d1524d355ca8bf4da0552a0f1452ff6c986fd56a2c3af9723f75de5ddb1daf9",
    "7710e28392251c0b70f8299fd465e9c200db6e7c415d18bae009e1ac75b17dc9",
    "5009c10d13488e7d95b3880b20920a92e4f3313040073e95efb9c98f3825d978",
    "0440557dcbdd479617aaec192245329d9078dda5dfd971a9498c215b49724913",
    "b180152faab68fa7c49e5446622cf762233bae153ca3b651a8968b3fbc96a09e",
    "f6055078c8608d752a175af677349a86f7975fa77b20ebd41a570392728ab6e0",
    "ebef67036c56d57ff106f49b222e8ed61f9d4a75b20907aa83b828f2a78ca553",
    "5d0fb207c5dd615880b9f86fc7987bd7e6c32affbf7a975a7453ec0d2c2bb606",
    "c8c251216066e9ec65a1eea05dd51dd01d8877ee9f2c45311d3311fcbf45757f",
    "b18b86ce1389e46de87aa4a5131ce83c1160fa33c087ab15b863574d31d8ff3c",
    "234878c68de1c6f3b306cb9a8b305fc6e96405f2f596b7db78baaa80d107a3f8",
    "8c2eb3e0b8d6cc2a197a52c92860f7b1ba71c966e3c88ec6c81900a7308e6266",
    "a92a5efad5fe699f8a050ef1ee02dcad31f44942fe4885800588a491c3a52b00",
    "66a492e408a8e7bc553c5d269892d085a49405c108e3a3e35235d3bb0e20bfac",
    "ea5397c853863a1f8786a821aaae1d3aca3c6c4b1a176f2670e9fd6677aa9621",
    "69a5fbfffffae9319bccfd9afe4b60a151852a7168ce91a705e88452599d0a0a",
    "1f15ae1f04ba0e38bd6eb45426fd35cd043bcb93f451c8750040618c8e427eb7",
    "0f2172fd7da584407c03b6f7f9ebf655cffdd635270616de1fba7a1488eae6fc",
    "520d5a31326e2bd00df72439678c2861734dc6f916fccf075ae33700f8dfb149",
    "d8e97b16b56fe8fc2774736a627c56eadee581019db7e95d55d860b56e277f98",
    "9a43e1ccc9cd1009408ee35e9e5718d595df3334eedb421d0c8eb4823d42e298",
    "aea16380245815b9b0a4176d8ffc63aad38462151770817d95876b2d599c5add",
    "83b3f5c33ac8dc6dfd0667c9ac5dc4b6b07e958210b48ff479d14c273926976c",
    "6bddb274ffd312ee7f3075486228d9e4952a4e8e5a6127b500281bd7757172b3",
    "b4649a1f132c2fe4e80f16f85b25f3fbd51cf9a9c97640cd91c34cebd687dae5",
    "8b01d03eaed10b2cbe803202fdb70e578b825b75b0940ff2d0083291bc6d813c",
    "7b421501d2c5b103db77b8876277a31c5f533de9dd7ccf9d81bc999aaa43b63e",
    "c8b9a8e7f164515be2e59bce8ef78d1fe1f5d605411be6cda64ef6bc050c192b",
    "94b2bd50d983edcc6c2e14935cc30b906b2a277e1361ff73a208044277439ee9",
    "21fe31dfa154a261626bf854046fd2271b7bed4b6abe45aa58877ef47f9721b9",
    "d5246bc377541fb76508de53d527eb973a81b755144ab531a6a0b7b4af0e7088",
    "718d4d86179831caf9ff705a08a587e33797bd534b8cbb112c641b1a9964a052",
];

/// The points of Ed25519 whose order divides eight, little-endian, without the sign of x: for
/// these a signature that holds for any message is easily made.
const SMALL_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// Whether the private part of a key is published; `name` is what the table holds a hash of.
pub(super) fn is_published(name: &[u8]) -> bool {
    PUBLISHED.contains(&hex(&sha256(name)).as_str())
}

/// Whether an Ed25519 key is of small order.
pub(super) fn is_small_order(key: &[u8]) -> bool {
    let mut y = key.to_vec();
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    SMALL_ORDER.contains(&hex(&y).as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use std::collections::BTreeSet;

    use aws_lc_rs::{
        agreement::{Algorithm, ECDH_P256, ECDH_P384, PrivateKey},
        signature::{Ed25519KeyPair, KeyPair as _},
    };
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use x509_parser::num_bigint::BigUint;

    use super::*;

    /// RFC 6979 A.2.5 and A.2.6, RFC 9500 §2.3: x as published.
    const EC_PRIVATE: [(bool, &str); 4] = [
        (true, "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"),
        (true, "e6cb5bdd80aa45ae9c95e8c15476679ffec953c16851e711e743939589c64fc1"),
        (
            false,
            "6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba9aa47740787137d896d5724e4c70a825\
             f872c9ea60d2edf5",
        ),
        (
            false,
            "e2563328dfabf68188606b91324281c1d58a4456431b09d510b35fecc9f307ca1822846fa2671371\
             a9a81bac0e35749d",
        ),
    ];
    /// RFC 8032 §7.1, test 1: the secret key.
    const ED25519_PRIVATE: &str =
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    /// RFC 9500 §2.1: the public part, RSAPublicKey.
    const RSA_2048: &str = "MIIBCgKCAQEAsPnoGUOnrpiSqt4XynxA+HRP7S+BSObI6qJ7fQAVSPtRkqsotWxQ\
        YLEYzNEx5ZSHTGypibVsJylvCfuToDTfMul8b/CZjP2Ob0LdpYrNH6l5hvFE89FU\
        1nZQF15oVLOpUgA7wGiHuEVawrGfey92UE68mOyUVXGweJIVDdxqdMoPvNNUl86B\
        U02vlBiESxOuox+dWmuVV7vfYZ79Toh/LUK43YvJh+rhv4nKuF7iHjVjBd9sB6iD\
        jj70HFldzOQ9r8SRI+9NirupPTkF5AKNe6kUhKJ1luB7S27ZkvB3tSTT3P593VVJ\
        vnzOjaA1z6Cz+4+eRvcysqhrRgFlwI9TEwIDAQAB";
    const RSA_4096: &str = "MIICCgKCAgEAs4tJYOY75qjbqJqCl47x9jJE5Vd9jPWGFtXKV1nUnMjZNsM4qjy5\
        sRHBSX5bUa9pLyYR5on3Z1SAwLD0w2VPQ6+F/oyK1zTgQqitoF/XZQjgC6D3VsNE\
        O76DPqfRANT7Nn7r1gvbZIZ3/H3rlCRNrRr47tHGWBLAPnxz9/NY6UG8ZkWP97uX\
        pJqYoRgH4CwaO5rTOlc64YDh/0Mq5VgMycq/q2AvMlvNoJfoe8em1040qH1gikP+\
        suT/8fS452hqmEddtRpuvQgXKldBd0kkiyFVyLkG4NVA6Mso9MAK3J/kdYoaw2Sr\
        OeThVSiYVEQVP+7GrUxTSLLjj/VQ9fpYM5eTNzDICIG/Ee7o/jhtW1EoSamDmUOr\
        89lyIHaXuOwkEaJhnVXKBCM8WiztxvKG2CnQ6Dcge3ZSmqJEhyEmjcAVC7ewfnMx\
        OnE+WJW6rzrf+mA5WMVn+FzyWx2AondWow0aUKHkaY7amhIrsKp6YPfNImyxFlz8\
        +cqDCmBswPsUh/JJ5eDHHIhibFcSgIHedsEjhLbUSLZ/DnEjru90qIWWA3R1VIPy\
        kKfeZkZeInsrFzGPikkFKwFF+6KDdyvCmltYEqzO46tigXAZ5UgH8oiXEre48wO6\
        X+FH+cLzQ0q3A8HZRnNDgqCjU/Tgy76iaku/Ic6eteedR1fX3gJ/IOUCAwEAAQ==";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = BigUint::parse_bytes(hex.as_bytes(), 16).unwrap().to_bytes_be();
        [vec![0; hex.len() / 2 - digits.len()], digits].concat()
    }

    fn point(algorithm: &'static Algorithm, private: &[u8]) -> Vec<u8> {
        let key = PrivateKey::from_private_key(algorithm, private).unwrap();
        key.compute_public_key().unwrap().as_ref().to_vec()
    }

    fn published() -> Vec<Vec<u8>> {
        let mut names = Vec::new();
        for small in 1..=16_u8 {
            names.push(point(&ECDH_P256, &[&[0; 31][..], &[small]].concat()));
            names.push(point(&ECDH_P384, &[&[0; 47][..], &[small]].concat()));
        }
        for (is_p256, private) in EC_PRIVATE {
            let curve = if is_p256 { &ECDH_P256 } else { &ECDH_P384 };
            names.push(point(curve, &bytes(private)));
        }
        let ed25519 = Ed25519KeyPair::from_seed_unchecked(&bytes(ED25519_PRIVATE)).unwrap();
        names.push(ed25519.public_key().as_ref().to_vec());
        for key in [RSA_2048, RSA_4096] {
            let key = STANDARD.decode(key).unwrap();
            let (_, key) =
                <x509_parser::public_key::RSAPublicKey<'_> as x509_parser::prelude::FromDer<
                    '_,
                    _,
                >>::from_der(&key)
                .unwrap();
            names.push(BigUint::from_bytes_be(key.modulus).to_bytes_be());
        }
        names
    }

    #[test]
    fn the_table_is_what_is_published() {
        let derived: BTreeSet<String> = published().iter().map(|name| hex(&sha256(name))).collect();
        assert_eq!(derived, PUBLISHED.iter().map(|hash| (*hash).to_owned()).collect());
        assert!(published().iter().all(|name| is_published(name)));
        assert!(!is_published(&point(&ECDH_P256, &[&[0; 31][..], &[17]].concat())));
    }

    /// On -x² + y² = 1 + d·x²·y² the points whose order divides four have y of 1, -1 or 0, and
    /// the double of one of order eight has y = 0, which is where d·y⁴ + 2·y² = 1.
    #[test]
    fn the_points_of_small_order_are_all_there() {
        let one = BigUint::from(1_u32);
        let p = (&one << 255) - BigUint::from(19_u32);
        let inverse = BigUint::from(121_666_u32).modpow(&(&p - 2_u32), &p);
        let d = (&p - 121_665_u32) * inverse % &p;
        let is_small = |y: &BigUint| {
            let square = y * y % &p;
            let of_eight = (&d * &square * &square + 2_u32 * &square) % &p == one;
            square == one || square == BigUint::ZERO || of_eight
        };
        let mut ys = BTreeSet::new();
        for entry in SMALL_ORDER {
            let mut little = bytes(entry);
            let listed = BigUint::from_bytes_le(&little);
            assert!(is_small(&(&listed % &p)), "{entry}");
            ys.insert(listed % &p);
            little[31] |= 0x80;
            assert!(is_small_order(&little));
        }
        // 1, -1, 0, and two of order eight; each is written below 2^255 in every way there is.
        assert_eq!(ys.len(), 5);
        assert_eq!(
            SMALL_ORDER.len(),
            ys.iter().map(|y| if *y < BigUint::from(19_u32) { 2 } else { 1 }).sum::<usize>()
        );
        assert!(!is_small_order(&published()[36]));
    }
}
