"""Writes testdata/proof: a model of three files, what Hugging Face's downloader notes of it, and
signatures of it. Packages: model-signing 1.1.1 with pyOpenSSL 26.4.0, huggingface_hub 2.4.0.

    python testdata/proof/make_proof.py

Keys and so signatures are new on each run; the model and the metadata but for the time are not."""
import base64
import datetime
import hashlib
import json
import pathlib
import shutil
import struct
import tempfile

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from huggingface_hub import _local_folder
from model_signing import hashing, signing, verifying

HERE = pathlib.Path(__file__).parent
MODEL = HERE / "model"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def model():
    shutil.rmtree(MODEL, ignore_errors=True)
    (MODEL / "notes").mkdir(parents=True)
    head = json.dumps({"w": {"dtype": "F32", "shape": [8, 4], "data_offsets": [0, 128]}}).encode()
    head += b" " * (-len(head) % 8)
    data = struct.pack("<32f", *[i / 7 for i in range(1, 33)])
    (MODEL / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + data)
    (MODEL / "README.md").write_text("three files\n")
    (MODEL / "notes" / "a.txt").write_text("below\n")


def metadata():
    with tempfile.TemporaryDirectory() as room:
        room = pathlib.Path(room)
        for path in sorted(p for p in MODEL.rglob("*") if p.is_file()):
            bytes_ = path.read_bytes()
            if path.suffix == ".safetensors":
                etag = hashlib.sha256(bytes_).hexdigest()
            else:
                etag = hashlib.sha1(b"blob %d\0" % len(bytes_) + bytes_).hexdigest()
            name = path.relative_to(MODEL).as_posix()
            _local_folder.write_download_metadata(room, name, COMMIT, etag)
        shutil.rmtree(HERE / "download", ignore_errors=True)
        shutil.copytree(room / ".cache" / "huggingface" / "download", HERE / "download",
                        ignore=shutil.ignore_patterns("*.lock"))


def pem(name, key=None, certificate=None, secret=False):
    if certificate is not None:
        text = certificate.public_bytes(serialization.Encoding.PEM)
    elif secret:
        text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                 serialization.NoEncryption())
    else:
        text = key.public_key().public_bytes(serialization.Encoding.PEM,
                                             serialization.PublicFormat.SubjectPublicKeyInfo)
    (HERE / name).write_bytes(text)
    return HERE / name


def certificate(name, key, issuer=None, issuer_key=None, ca=False, usage=True, code=False):
    day = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (x509.CertificateBuilder().subject_name(subject)
               .issuer_name(issuer.subject if issuer else subject).public_key(key.public_key())
               .serial_number(x509.random_serial_number()).not_valid_before(day)
               # past: what counts is the day on which the leaf became valid
               .not_valid_after(day + datetime.timedelta(days=400))
               .add_extension(x509.BasicConstraints(ca, None), True)
               .add_extension(x509.KeyUsage(usage and not ca, not usage, False, False, False, ca, ca,
                                            False, False), True))
    if code:
        builder = builder.add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)
    return builder.sign(issuer_key or key, hashes.SHA256())


def sign(name, config, shards=None):
    how = hashing.Config()
    if shards:
        how.use_shard_serialization(shard_size=shards)
    config.set_hashing_config(how).sign(MODEL, HERE / name)


def change(source, name, edit):
    bundle = json.loads((HERE / source).read_text())
    edit(bundle)
    (HERE / name).write_text(json.dumps(bundle))


def new_payload(bundle):
    envelope = bundle["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["subject"][0]["name"] = "another"
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()


def new_signature(bundle):
    one = bundle["dsseEnvelope"]["signatures"][0]
    raw = bytearray(base64.b64decode(one["sig"]))
    raw[-1] ^= 1
    one["sig"] = base64.b64encode(raw).decode()


def main():
    model()
    metadata()
    keys = {name: ec.generate_private_key(curve()) for name, curve in
            [("p256", ec.SECP256R1), ("p384", ec.SECP384R1), ("p521", ec.SECP521R1),
             ("root", ec.SECP256R1), ("middle", ec.SECP384R1), ("other", ec.SECP256R1)]}
    for name in ("p256", "p384", "p521"):
        pem(f"{name}.pub", keys[name])
        secret = pem(f"{name}.pem", keys[name], secret=True)
        sign(f"{name}.sig", signing.Config().use_elliptic_key_signer(private_key=secret))
    sign("shards.sig", signing.Config().use_elliptic_key_signer(private_key=HERE / "p256.pem"), 100)
    change("p256.sig", "bad_payload.sig", new_payload)
    change("p256.sig", "bad_signature.sig", new_signature)

    root = certificate("root", keys["root"], ca=True)
    other = certificate("root", keys["other"], ca=True)
    middle = certificate("middle", keys["middle"], root, keys["root"], ca=True)
    pem("root.crt", certificate=root)
    pem("other.crt", certificate=other)
    with tempfile.TemporaryDirectory() as room:
        chain = pathlib.Path(room) / "middle.crt"
        chain.write_bytes(middle.public_bytes(serialization.Encoding.PEM))
        for name, usage, code in (("certificate", True, False), ("code", False, True),
                                  ("bad_usage", False, False)):
            leaf = certificate(name, keys["p256"], middle, keys["middle"], usage=usage, code=code)
            path = pathlib.Path(room) / f"{name}.crt"
            path.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
            sign(f"{name}.sig", signing.Config().use_certificate_signer(
                private_key=HERE / "p256.pem", signing_certificate=path, certificate_chain=[chain]))
    for name in ("p384", "p521"):
        (HERE / f"{name}.pem").unlink()
    # the package's own verdicts
    # (it cannot read its own shards: their size is a float in its statement)
    for name, wanted in (("p256", True), ("p384", True), ("p521", True), ("bad_payload", False),
                         ("bad_signature", False)):
        key = HERE / f"{name if name.startswith('p') else 'p256'}.pub"
        verdict(name, verifying.Config().use_elliptic_key_verifier(public_key=key), wanted)
    for name, trusted, wanted in (("certificate", "root", True), ("code", "root", True),
                                  ("bad_usage", "root", False), ("certificate", "other", False)):
        verdict(name, verifying.Config().use_certificate_verifier(
            certificate_chain=[HERE / f"{trusted}.crt"]), wanted)


def verdict(name, config, wanted):
    try:
        config.verify(MODEL, HERE / f"{name}.sig")
        held = True
    except Exception as problem:
        held, wanted = False, wanted and f"{problem}"
    assert held == wanted, (name, held, wanted)
    print(name, held)


main()
