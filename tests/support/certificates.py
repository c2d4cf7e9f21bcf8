"""Certificates for servers on loopback, and for their clients."""

import ssl
from collections.abc import Mapping
from pathlib import Path

import trustme


def write(folder: Path) -> None:
    """Write `ca.pem`, which signed `server.pem` and `client.pem`, their keys, and `other.pem`.

    No certificate is signed by `other.pem`.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    trustme.CA().cert_pem.write_to_path(folder / "other.pem")
    for name in ("server", "client"):
        certificate = authority.issue_cert("127.0.0.1", "localhost")
        certificate.private_key_pem.write_to_path(folder / f"{name}.key")
        for number, part in enumerate(certificate.cert_chain_pems):
            part.write_to_path(folder / f"{name}.pem", append=number > 0)


def server_context(options: Mapping[str, str]) -> ssl.SSLContext:
    """TLS as a Redis with these options has it, such as `--tls-cert-file`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(options["--tls-cert-file"], options["--tls-key-file"])
    if options.get("--tls-auth-clients") == "yes":
        context.load_verify_locations(options["--tls-ca-cert-file"])
        context.verify_mode = ssl.CERT_REQUIRED
    return context
