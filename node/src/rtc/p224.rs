//! Signatures by keys on the curve P-224 (FIPS 186-4 appendix D.1.2.2), verified and never made.
//!
//! ffmpeg 8 makes such a key for each WHIP session where it was built with GnuTLS, as Debian and
//! Ubuntu do. WebRTC asks for P-256 (RFC 8827 section 6.5), and ffmpeg 9 uses that; but the user of
//! the older one would see no more than that the handshake failed. No library that a node is built
//! with knows the curve, and the crate `p224` would add a dozen more. Nothing here is secret, so
//! plain arithmetic will do.

use num_bigint::BigUint;

/// Bytes of a coordinate, and of what counts of a hash.
const SIZE: usize = 28;

/// First byte of a point with both coordinates (SEC 1 section 2.3.3).
const UNCOMPRESSED: u8 = 4;

/// DER tags (ITU-T X.690).
const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;

/// Words of a number, the highest first.
type Words = [u32; 7];

const P: Words = [!0, !0, !0, !0, 0, 0, 1];
const N: Words = [
    !0,
    !0,
    !0,
    0xffff_16a2,
    0xe0b8_f03e,
    0x13dd_2945,
    0x5c5c_2a3d,
];
const B: Words = [
    0xb405_0a85,
    0x0c04_b3ab,
    0xf541_3256,
    0x5044_b0b7,
    0xd7bf_d8ba,
    0x270b_3943,
    0x2355_ffb4,
];
const GENERATOR: [Words; 2] = [
    [
        0xb70e_0cbd,
        0x6bb4_bf7f,
        0x3213_90b9,
        0x4a03_c1d3,
        0x56c2_1122,
        0x3432_80d6,
        0x115c_1d21,
    ],
    [
        0xbd37_6388,
        0xb5f7_23fb,
        0x4c22_dfe6,
        0xcd43_75a0,
        0x5a07_4764,
        0x44d5_8199,
        0x8500_7e34,
    ],
];

/// Whether this is as long as a key on this curve; of those that WebRTC knows none is.
pub(super) fn is_key(bytes: &[u8]) -> bool {
    bytes.len() == 1 + 2 * SIZE && bytes.first() == Some(&UNCOMPRESSED)
}

/// Whether `signature`, an ECDSA signature in DER (RFC 3279 section 2.2.3), is `key`'s over what
/// hashes to `digest` (FIPS 186-4 section 6.4).
pub(super) fn verify(key: &[u8], digest: &[u8], signature: &[u8]) -> bool {
    let curve = Curve::new();
    let Some(key) = curve.point(key) else {
        return false;
    };
    let Some([r, s]) = numbers(signature) else {
        return false;
    };
    let zero = BigUint::ZERO;
    if r == zero || s == zero || r >= curve.n || s >= curve.n {
        return false;
    }
    let Some(digest) = digest.get(..SIZE) else {
        return false;
    };
    let two = BigUint::from(2_u8);
    let inverse = s.modpow(&(&curve.n - &two), &curve.n);
    let parts = [
        (BigUint::from_bytes_be(digest) * &inverse) % &curve.n,
        (&r * &inverse) % &curve.n,
    ];
    let [x, y] = GENERATOR.map(number);
    let sum = curve.combine(&parts, &[Point::new(x, y), key]);
    if sum.z == zero {
        return false;
    }
    let z = sum.z.modpow(&(&curve.p - &two), &curve.p);
    (sum.x * &z * &z) % &curve.p % &curve.n == r
}

fn number(mut words: Words) -> BigUint {
    words.reverse();
    BigUint::from_slice(&words)
}

/// The two numbers of a signature. They and all around them are so short that each length is one
/// byte.
fn numbers(signature: &[u8]) -> Option<[BigUint; 2]> {
    let (content, rest) = element(SEQUENCE, signature)?;
    let (r, content) = element(INTEGER, content)?;
    let (s, content) = element(INTEGER, content)?;
    (rest.is_empty() && content.is_empty()).then_some(())?;
    Some([positive(r)?, positive(s)?])
}

fn element(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let [first, length, rest @ ..] = bytes else {
        return None;
    };
    let short = *first == tag && *length < 0x80;
    rest.split_at_checked(usize::from(*length))
        .filter(|_| short)
}

/// An integer above zero in its only form (ITU-T X.690 section 8.3.2).
fn positive(bytes: &[u8]) -> Option<BigUint> {
    let valid = match bytes {
        [] => false,
        [0, second, ..] => *second >= 0x80,
        [first, ..] => *first < 0x80,
    };
    valid.then(|| BigUint::from_bytes_be(bytes))
}

/// A point in Jacobian coordinates, (x / z², y / z³); at infinity where z is zero.
#[derive(Debug, Clone)]
struct Point {
    x: BigUint,
    y: BigUint,
    z: BigUint,
}

impl Point {
    fn new(x: BigUint, y: BigUint) -> Self {
        let z = BigUint::from(1_u8);
        Self { x, y, z }
    }

    fn infinity() -> Self {
        let one = BigUint::from(1_u8);
        Self {
            x: one.clone(),
            y: one,
            z: BigUint::ZERO,
        }
    }
}

/// y² = x³ - 3x + b modulo p, with n points.
struct Curve {
    p: BigUint,
    n: BigUint,
}

impl Curve {
    fn new() -> Self {
        Self {
            p: number(P),
            n: number(N),
        }
    }

    /// Reads an uncompressed point, if it lies on the curve. There are n points and n is prime, so
    /// all but infinity have that order.
    fn point(&self, bytes: &[u8]) -> Option<Point> {
        let coordinates = bytes.get(1..).filter(|_| is_key(bytes))?;
        let (x, y) = coordinates.split_at(SIZE);
        let (x, y) = (BigUint::from_bytes_be(x), BigUint::from_bytes_be(y));
        let valid = x < self.p
            && y < self.p
            && (&y * &y) % &self.p == self.minus(&x * &x * &x + number(B), &x * 3_u8);
        valid.then(|| Point::new(x, y))
    }

    fn minus(&self, a: BigUint, b: BigUint) -> BigUint {
        (a % &self.p + &self.p - b % &self.p) % &self.p
    }

    fn times(&self, a: &BigUint, b: &BigUint) -> BigUint {
        (a * b) % &self.p
    }

    /// `factors[0] * points[0] + factors[1] * points[1]`, bit by bit for both at once.
    fn combine(&self, factors: &[BigUint; 2], points: &[Point; 2]) -> Point {
        let mut sum = Point::infinity();
        for bit in (0..self.n.bits()).rev() {
            sum = self.double(&sum);
            for (factor, point) in factors.iter().zip(points) {
                if factor.bit(bit) {
                    sum = self.add(&sum, point);
                }
            }
        }
        sum
    }

    fn double(&self, a: &Point) -> Point {
        let yy = self.times(&a.y, &a.y);
        let zz = self.times(&a.z, &a.z);
        let s = self.times(&a.x, &yy) * 4_u8 % &self.p;
        // 3x² - 3z⁴
        let m = self.minus(&a.x * &a.x, &zz * &zz) * 3_u8 % &self.p;
        let x = self.minus(&m * &m, &s * 2_u8);
        let y = self.minus(m * self.minus(s, x.clone()), &yy * &yy * 8_u8);
        let z = self.times(&a.y, &a.z) * 2_u8 % &self.p;
        Point { x, y, z }
    }

    fn add(&self, a: &Point, b: &Point) -> Point {
        if a.z == BigUint::ZERO {
            return b.clone();
        }
        if b.z == BigUint::ZERO {
            return a.clone();
        }
        let (zz_a, zz_b) = (self.times(&a.z, &a.z), self.times(&b.z, &b.z));
        let (x_a, x_b) = (self.times(&a.x, &zz_b), self.times(&b.x, &zz_a));
        let y_a = self.times(&a.y, &self.times(&zz_b, &b.z));
        let y_b = self.times(&b.y, &self.times(&zz_a, &a.z));
        if x_a == x_b {
            return if y_a == y_b {
                self.double(a)
            } else {
                Point::infinity()
            };
        }
        let h = self.minus(x_b, x_a.clone());
        let r = self.minus(y_b, y_a.clone());
        let hh = self.times(&h, &h);
        let hhh = self.times(&hh, &h);
        let v = self.times(&x_a, &hh);
        let x = self.minus(&r * &r, &hhh + &v * 2_u8);
        let y = self.minus(r * self.minus(v, x.clone()), y_a * hhh);
        let z = self.times(&self.times(&a.z, &b.z), &h);
        Point { x, y, z }
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER_PERMISSIVE as HEX;
    use rtc::crypto::HashAlgorithm;

    use super::*;

    /// The key of RFC 6979 appendix A.2.4, and what it signs there with SHA-256.
    const KEY: &str = "04\
        00cf08da5ad719e42707fa431292dea11244d64fc51610d94b130d6c\
        eeab6f3debe455e3dbf85416f7030cbd94f34f2d6f232c69f3c1385a";
    const SIGNED: [(&str, &str, &str); 2] = [
        (
            "sample",
            "61aa3da010e8e8406c656bc477a7a7189895e7e840cdfe8ff42307ba",
            "bc814050dab5d23770879494f9e0a680dc1af7161991bde692b10101",
        ),
        (
            "test",
            "ad04dde87b84747a243a631ea47a1ba6d1faa059149ad2440de6fba6",
            "178d49b1ae90e3d8b629be3db5683915f4e8c99fdf6e666cf37adcfd",
        ),
    ];

    fn hex(text: &str) -> Vec<u8> {
        HEX.decode(text.as_bytes()).unwrap()
    }

    fn digest(message: &str) -> Vec<u8> {
        let provider = rtc::crypto::default_provider().unwrap();
        let crypto = provider.crypto();
        crypto
            .hash(HashAlgorithm::Sha256, message.as_bytes())
            .unwrap()
    }

    fn integer(bytes: &[u8]) -> Vec<u8> {
        let first = bytes.iter().position(|byte| *byte != 0);
        let mut content = bytes[first.unwrap_or(bytes.len() - 1)..].to_vec();
        if content[0] >= 0x80 {
            content.insert(0, 0);
        }
        [vec![INTEGER, content.len() as u8], content].concat()
    }

    fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
        let content = [integer(r), integer(s)].concat();
        [vec![SEQUENCE, content.len() as u8], content].concat()
    }

    #[test]
    fn signatures_of_rfc_6979_hold() {
        for (message, r, s) in SIGNED {
            assert!(verify(&hex(KEY), &digest(message), &der(&hex(r), &hex(s))));
        }
    }

    #[test]
    fn nothing_else_does() {
        let (message, r, s) = SIGNED[0];
        let (key, digest, r, s) = (hex(KEY), digest(message), hex(r), hex(s));
        let good = der(&r, &s);
        for at in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                assert!(!verify(&key, &digest, &bad), "bit {bit} of byte {at}");
            }
            assert!(!verify(&key, &digest, &good[..at]));
        }
        for at in 0..key.len() {
            let mut other = key.clone();
            other[at] ^= 1;
            assert!(!verify(&other, &digest, &good), "byte {at} of the key");
        }
        for at in 0..SIZE {
            let mut other = digest.clone();
            other[at] ^= 1;
            assert!(!verify(&key, &other, &good), "byte {at} of the digest");
        }
        assert!(!verify(&key, &self::digest("test"), &good));
        assert!(!verify(&key, &digest[..SIZE - 1], &good));
        assert!(!verify(&key, &digest, &[&good[..], &[0]].concat()));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        let (message, r, s) = SIGNED[0];
        let (key, digest, r, s) = (hex(KEY), digest(message), hex(r), hex(s));
        let n = Curve::new().n;
        let bytes = |number: &BigUint| number.to_bytes_be();
        let shifted = |part: &[u8]| bytes(&(BigUint::from_bytes_be(part) + &n));
        assert!(!verify(&key, &digest, &der(&[0], &s)));
        assert!(!verify(&key, &digest, &der(&r, &[0])));
        assert!(!verify(&key, &digest, &der(&[0], &[0])));
        assert!(!verify(&key, &digest, &der(&bytes(&n), &s)));
        assert!(!verify(&key, &digest, &der(&r, &bytes(&n))));
        assert!(!verify(&key, &digest, &der(&shifted(&r), &s)));
        assert!(!verify(&key, &digest, &der(&r, &shifted(&s))));
        // The other half of the same signature is as good as it: ECDSA is like that.
        let mirrored = bytes(&(&n - BigUint::from_bytes_be(&s)));
        assert!(verify(&key, &digest, &der(&r, &mirrored)));
    }

    #[test]
    fn the_arithmetic_is_that_of_a_group() {
        let curve = Curve::new();
        let [x, y] = GENERATOR.map(number);
        let g = Point::new(x, y);
        let one = BigUint::from(1_u8);
        let affine = |point: &Point| {
            let z = point.z.modpow(&(&curve.p - BigUint::from(2_u8)), &curve.p);
            let x = &point.x * &z * &z % &curve.p;
            let y = &point.y * &z * &z * &z % &curve.p;
            (x, y)
        };
        let nothing = BigUint::ZERO;
        let whole = [curve.n.clone(), nothing.clone()];
        let points = [g.clone(), g.clone()];
        assert_eq!(curve.combine(&whole, &points).z, nothing);
        let almost = [&curve.n - &one, one.clone()];
        assert_eq!(curve.combine(&almost, &points).z, nothing);
        let twice = curve.add(&g, &g);
        assert_eq!(affine(&twice), affine(&curve.double(&g)));
        assert_eq!(
            affine(&curve.combine(&[one.clone(), one], &points)),
            affine(&twice)
        );
    }
}
