"""A server certificate nobody has to trust: it makes TLS possible."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

DAYS = "2"


def can_certify() -> bool:
    return shutil.which("openssl") is not None


ELLIPTIC = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
RSA = ("rsa:2048",)  # with which clients can encrypt a password without TLS


def tls_options(directory: Path, key_of: Sequence[str] = ELLIPTIC) -> list[str]:
    """Make a certificate in *directory*; the server's options that name it."""
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", *key_of]
    command += ["-nodes", "-subj", "/CN=localhost", "-days", DAYS]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return [f"--ssl-key={key}", f"--ssl-cert={certificate}"]
