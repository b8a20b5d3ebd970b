"""The emulator's own certificate authority, made once per cache directory."""

from __future__ import annotations

import contextlib
import shutil
import ssl
import tempfile
from pathlib import Path

import trustme

ALLOWED_DOMAINS = ("youtube.com", "youtu.be", "googlevideo.com", "ytimg.com", "ggpht.com", "googleapis.com")
_VERSION = "ca-v1"


def is_allowed(host: str) -> bool:
    """Whether the proxy plays this host: one of ALLOWED_DOMAINS or a subdomain."""
    name = host.lower().rstrip(".")
    return any(name == domain or name.endswith("." + domain) for domain in ALLOWED_DOMAINS)


def certificate_authority(cache_dir: Path) -> tuple[trustme.CA, Path]:
    """The CA of this cache directory and the path of its public certificate (PEM).

    It is kept, so that emulators which share the directory share the file that clients trust.
    The key is readable by its owner only, and nothing but clients told to use the file trusts it.
    """
    home = cache_dir / _VERSION
    if not (home / "ca.pem").exists():
        _make(home)
    authority = trustme.CA.from_pem((home / "ca.pem").read_bytes(), (home / "ca.key").read_bytes())
    return authority, home / "ca.pem"


def _make(home: Path) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".ca-", dir=home.parent))
    try:
        authority = trustme.CA(organization_name="YTArchive emulator", organization_unit_name="loopback only")
        authority.cert_pem.write_to_path(str(made / "ca.pem"))
        (made / "ca.key").touch(mode=0o600)
        authority.private_key_pem.write_to_path(str(made / "ca.key"))
        with contextlib.suppress(OSError):  # another process was quicker: its authority is as good
            made.rename(home)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    """A server context with one certificate for all of ALLOWED_DOMAINS."""
    names = [name for domain in ALLOWED_DOMAINS for name in (domain, f"*.{domain}")]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context
