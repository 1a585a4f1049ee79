"""Opens and seals with python-cwt what the Rust side wrote as hex files into a directory."""

import sys
from pathlib import Path

from cwt import COSE, COSEKey

HPKE_7, ESP256 = 45, -9
CONTENT_FORMAT_SIGN1 = 18

directory = Path(sys.argv[1])


def read(name):
    return bytes.fromhex((directory / name).read_text())


def write(name, value):
    (directory / name).write_text(value.hex())


def ec2(alg, point, kid=None, secret=None):
    key = {1: 2, 3: alg, -1: 1, -2: point[1:33], -3: point[33:]}
    if kid is not None:
        key[2] = kid
    if secret is not None:
        key[-4] = secret
    return COSEKey.new(key)


def refused(call):
    try:
        call()
    except Exception:
        return True
    return False


kid, aad = read("kid"), read("aad")
pair = read("recipient")
private = ec2(HPKE_7, pair[:65], kid, pair[65:])
public = ec2(HPKE_7, pair[:65], kid)
verifying = ec2(ESP256, read("signer"))
cose = COSE.new()

# What Rust sealed.
sealed = read("sealed")
protected, unprotected, plain = cose.decode_with_headers(sealed, private, external_aad=aad)
assert list(protected.items()) == [(1, HPKE_7), (3, CONTENT_FORMAT_SIGN1), (4, kid)], protected
assert list(unprotected) == [-4], unprotected
assert plain == read("signed")
headers, outside, payload = cose.decode_with_headers(plain, verifying)
assert list(headers) == [1, 3, 15, 16, 34] and headers[1] == ESP256, headers
assert headers[15][1] == "alice" and headers[15][3] == "bob", headers
assert not outside, outside
write("payload", payload)

wrong = aad[:-1] + bytes([aad[-1] ^ 1])
assert refused(lambda: cose.decode(sealed, private, external_aad=wrong))
assert refused(lambda: cose.decode(sealed, private))
assert refused(lambda: cose.decode(plain, verifying, external_aad=b"x"))
assert refused(lambda: cose.decode(plain[:-1] + bytes([plain[-1] ^ 1]), verifying))

# The key bundle: the same signature, and keys that read as COSE keys.
bundle_headers, _, bundle = cose.decode_with_headers(read("bundle"), verifying)
assert bundle_headers[1] == ESP256, bundle_headers
write("bundle_payload", bundle)

# What Python seals: the same Sign1, once right and once for another frame.
for name, external in (("resealed", aad), ("misbound", wrong)):
    header = {1: HPKE_7, 3: CONTENT_FORMAT_SIGN1, 4: kid}
    write(name, cose.encode_and_encrypt(plain, public, header, {}, external_aad=external))
