"""Signatures by the package model-signing, bills of materials by cyclonedx-python-lib, metadata by
huggingface_hub: what grokkit writes is valid to them, and what they write is proof to grokkit."""
import hashlib
import os
import pathlib
import shutil
import subprocess

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from huggingface_hub import _local_folder
from model_signing import hashing, signing, verifying

from common import GROKKIT, ROOT, TINY, check, grokkit, grokkit_json, sha256, work

PROOF = os.path.join(ROOT, "testdata", "proof")
COMMIT = "76543210fedcba9876543210fedcba9876543210"


def key(name, curve):
    k = ec.generate_private_key(curve())
    pathlib.Path(work(name + ".pem")).write_bytes(k.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption()))
    pathlib.Path(work(name + ".pub")).write_bytes(k.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))


def held(model, name):
    """The package's verdict on a signature."""
    try:
        verifying.Config().use_elliptic_key_verifier(public_key=work(name + ".pub")).verify(
            pathlib.Path(model), pathlib.Path(work(name + ".sig")))
        return True
    except Exception:  # noqa: BLE001  it raises several kinds
        return False


def status(*args):
    return subprocess.run([GROKKIT, *args], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL).returncode


def signatures():
    model = work("model")
    shutil.copytree(os.path.join(PROOF, "model"), model)
    for name, curve in (("p256", ec.SECP256R1), ("p384", ec.SECP384R1), ("p521", ec.SECP521R1)):
        key(name, curve)
        grokkit("hash", model, "--sign", work(name + ".pem"), "--signature", work(name + ".sig"))
        check(f"model-signing verifies what grokkit signs, {name}", held(model, name))
        for shards in (0, 50):
            how = hashing.Config()
            if shards:
                how.use_shard_serialization(shard_size=shards)
            signing.Config().use_elliptic_key_signer(
                private_key=pathlib.Path(work(name + ".pem"))).set_hashing_config(how).sign(
                    pathlib.Path(model), pathlib.Path(work("theirs.sig")))
            args = ("hash", model, "--signature", work("theirs.sig"), "--public-key",
                    work(name + ".pub"))
            what = f"{name}, {f'shards of {shards}' if shards else 'whole files'}"
            check(f"grokkit verifies what model-signing signs, {what}", status(*args) == 0)
            path = pathlib.Path(model) / "README.md"
            before = path.read_bytes()
            path.write_bytes(b"T" + before[1:])
            check(f"and not of another file, {what}", status(*args) == 1)
            path.write_bytes(before)
    path = pathlib.Path(model) / "notes" / "a.txt"
    path.write_bytes(path.read_bytes()[:-1])
    check("model-signing finds a changed file by grokkit's signature", not held(model, "p256"))


def boms():
    quantized = work("int8")
    grokkit("quantize", TINY, quantized, "--scheme", "int8", "--hash", "all", "-q")
    for name, model in (("a release", TINY), ("what was made of it", quantized),
                        ("a GGUF", os.path.join(ROOT, "testdata", "gguf", "grok.gguf")),
                        ("a Grok-1", os.path.join(ROOT, "testdata", "grok1-tiny"))):
        problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(
            grokkit("inspect", model, "--bom", "-q").decode())
        check(f"the BOM of {name} is CycloneDX 1.6", problem is None, problem or "")


def downloads():
    model = pathlib.Path(work("download"))
    shutil.copytree(TINY, model)
    shutil.rmtree(model / "golden")
    n = 0
    for path in sorted(p for p in model.iterdir() if p.is_file()):
        data = path.read_bytes()
        etag = sha256(data) if path.suffix == ".safetensors" else hashlib.sha1(
            b"blob %d\0" % len(data) + data).hexdigest()
        _local_folder.write_download_metadata(model, path.name, COMMIT, etag)
        n += 1
    files = grokkit_json("audit", model)["files"]
    check("metadata of huggingface_hub proves a download", len(files) == n and all(
        COMMIT in f["source"] and f["expected"] in (f["sha256"], f.get("git_sha1")) for f in files),
        f"{len(files)} files")


signatures()
boms()
downloads()
