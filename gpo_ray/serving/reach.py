"""Check who can reach the service: without API keys, only this machine may."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

from gpo_ray.errors import ConfigError

MAKE_A_KEY = "gpo serve key create --name NAME --tenant TENANT --scope read --scope write"


def is_loopback(host: str | None) -> bool:
    """Return whether a name or address belongs to this machine alone, so that nobody else can reach it."""
    if host is None:
        return False
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


def check_reach(require_keys: bool, host: str | None, key: str) -> None:
    """Refuse to serve without keys where others could send requests.

    Args:
        require_keys: whether every request needs a key.
        host: address that HTTP is served on; None if HTTP is not served.
        key: name of the option that gave the address, for the message.

    Raises:
        ConfigError: if others on the network could do everything.
    """
    if not require_keys and host is not None and not is_loopback(host):
        raise ConfigError(
            f"require_keys: false, and {key} is {host or repr(host)}: without API keys only this machine may "
            f"ask; serve on 127.0.0.1, or make a key with: {MAKE_A_KEY}"
        )
