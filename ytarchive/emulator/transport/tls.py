"""Certificate authority of the emulator, created once per cache directory."""

import contextlib
import shutil
import ssl
import tempfile
from pathlib import Path

import trustme

ALLOWED_DOMAINS = ("youtube.com", "youtu.be", "googlevideo.com", "ytimg.com", "ggpht.com", "googleapis.com")
_VERSION = "ca-v1"


def is_allowed(host: str) -> bool:
    """Return whether the host is emulated: one of ALLOWED_DOMAINS or a subdomain."""
    name = host.lower().rstrip(".")
    return any(name == domain or name.endswith("." + domain) for domain in ALLOWED_DOMAINS)


def certificate_authority(cache_dir: Path) -> tuple[trustme.CA, Path]:
    """Return the CA of this cache directory and the path of its certificate (PEM); create them if necessary.

    Emulators with the same cache directory share the CA, so clients need to trust only one file. The private key is
    readable by its owner only, and only clients that are configured with the certificate trust it.
    """
    directory = cache_dir / _VERSION
    if not (directory / "ca.pem").exists():
        _create(directory)
    authority = trustme.CA.from_pem((directory / "ca.pem").read_bytes(), (directory / "ca.key").read_bytes())
    return authority, directory / "ca.pem"


def _create(directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".ca-", dir=directory.parent))
    try:
        authority = trustme.CA(organization_name="YTArchive emulator", organization_unit_name="loopback only")
        authority.cert_pem.write_to_path(str(staging / "ca.pem"))
        (staging / "ca.key").touch(mode=0o600)
        authority.private_key_pem.write_to_path(str(staging / "ca.key"))
        with contextlib.suppress(OSError):  # another process created it first; its CA is used
            staging.rename(directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    """Return a TLS server context with one certificate for all of ALLOWED_DOMAINS."""
    names = [name for domain in ALLOWED_DOMAINS for name in (domain, f"*.{domain}")]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context
