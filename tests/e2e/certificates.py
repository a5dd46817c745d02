"""Certificates for tests, made by openssl."""

import pathlib
import subprocess

import grpc


def _openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """Signs certificates with a key of its own."""

    def __init__(self, folder, name):
        self.folder = pathlib.Path(folder)
        self.name = name
        self.certificate = self.folder / f"{name}-ca.crt"
        self._key = self.folder / f"{name}-ca.key"
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-days", "1", "-subj", f"/CN={name}", "-keyout", self._key, "-out", self.certificate)

    def issue(self, name):
        """Paths of a certificate, for `name` and 127.0.0.1, and of its private key."""
        certificate = self.folder / f"{self.name}-{name}.crt"
        key = certificate.with_suffix(".key")
        _openssl("req", "-x509", "-CA", self.certificate, "-CAkey", self._key, "-newkey", "ec",
                 "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", f"/CN={name}",
                 "-addext", f"subjectAltName=DNS:{name},IP:127.0.0.1",
                 "-addext", "basicConstraints=critical,CA:FALSE", "-keyout", key, "-out", certificate)
        return certificate, key

    def client_credentials(self, own=None):
        """For a client that trusts this authority; `own` as from issue()."""
        certificate, key = (path.read_bytes() for path in own) if own else (None, None)
        return grpc.ssl_channel_credentials(self.certificate.read_bytes(), key, certificate)
