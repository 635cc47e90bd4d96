"""API keys, which say who may do what, and for which tenant."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from sqlalchemy import Engine, Row, insert, select, update

from gpo_ray.errors import ConfigError
from gpo_ray.serving.registry.database import single_statements, transaction
from gpo_ray.serving.registry.tables import keys

Scope = Literal["read", "write", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
"""The scopes; each of them includes the scopes before it."""

KEY_ID = re.compile(r"[0-9a-f]{16}")
SECRET = re.compile(rf"gpo_({KEY_ID.pattern})_[A-Za-z0-9_-]{{43}}")
TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


@dataclass(frozen=True)
class ApiKey:
    """An API key without its secret."""

    key_id: str
    name: str
    tenant: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    """Time when the key was made; aware, in UTC."""
    revoked_at: datetime | None = None

    def may(self, scope: Scope) -> bool:
        """Return whether the key allows a scope: admin includes write, and write includes read."""
        return any(SCOPES.index(s) >= SCOPES.index(scope) for s in self.scopes)


class KeyRing:
    """The API keys in a database; methods raise :class:`RegistryUnavailable` while it does not answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reader = single_statements(engine)

    def create(self, name: str, tenant: str, scopes: Sequence[str]) -> tuple[ApiKey, str]:
        """Make a key.

        Args:
            name: what the key is for, 1 to 200 printable characters.
            tenant: tenant whose groups the key opens; 1 to 63 letters, digits, dots, dashes and underscores.
            scopes: at least one of read, write, admin.

        Returns:
            The key, and its secret, which is stored nowhere.

        Raises:
            ConfigError: if name, tenant or scopes are not as above.
        """
        if not (1 <= len(name) <= 200 and name.isprintable()):
            raise ConfigError(f"key name {name!r}: expected 1 to 200 printable characters")
        if not TENANT.fullmatch(tenant):
            raise ConfigError(
                f"tenant {tenant!r}: expected 1 to 63 letters, digits, dots, dashes and underscores, "
                "the first a letter or digit"
            )
        unknown = [s for s in scopes if s not in SCOPES]
        if unknown or not scopes:
            raise ConfigError(f"scopes {', '.join(scopes) or '(none)'}: expected some of {', '.join(SCOPES)}")
        key = ApiKey(
            key_id=secrets.token_hex(8),
            name=name,
            tenant=tenant,
            scopes=tuple(s for s in SCOPES if s in scopes),
            created_at=datetime.now(UTC),
        )
        secret = f"gpo_{key.key_id}_{secrets.token_urlsafe(32)}"
        row = {**vars(key), "scopes": " ".join(key.scopes), "digest": _digest(secret)}
        with transaction(self._engine) as connection:
            connection.execute(insert(keys).values(row))
        return key, secret

    def find(self, secret: str) -> ApiKey | None:
        """Return the key of a secret, or None if there is no such key or it is revoked."""
        parts = SECRET.fullmatch(secret)
        if parts is None:
            return None
        with transaction(self._reader) as connection:
            row = connection.execute(select(keys).where(keys.c.key_id == parts[1])).one_or_none()
        if row is None or row.revoked_at is not None or not hmac.compare_digest(row.digest, _digest(secret)):
            return None
        return _key(row)

    def revoke(self, key_id: str) -> ApiKey:
        """Make a key useless from now on; revoking it again changes nothing.

        Raises:
            ConfigError: if there is no such key.
        """
        unknown = ConfigError(f"key {key_id!r} does not exist; `gpo serve key list` shows all")
        if not KEY_ID.fullmatch(key_id):
            raise unknown
        mine = keys.c.key_id == key_id
        with transaction(self._engine) as connection:
            now = datetime.now(UTC)
            connection.execute(update(keys).where(mine, keys.c.revoked_at.is_(None)).values(revoked_at=now))
            row = connection.execute(select(keys).where(mine)).one_or_none()
        if row is None:
            raise unknown
        return _key(row)

    def any(self) -> bool:
        """Return whether there is a key that is not revoked."""
        with transaction(self._reader) as connection:
            found = connection.scalar(select(keys.c.key_id).where(keys.c.revoked_at.is_(None)).limit(1))
        return found is not None

    def list(self) -> tuple[ApiKey, ...]:
        """Return all keys, including revoked ones, the oldest first."""
        with transaction(self._reader) as connection:
            rows = connection.execute(select(keys).order_by(keys.c.created_at, keys.c.key_id)).all()
        return tuple(_key(row) for row in rows)


def _digest(secret: str) -> str:
    # people's passwords need a slow hash; 256 random bits cannot be guessed from a fast hash either
    return hashlib.sha256(secret.encode()).hexdigest()


def _key(row: Row[Any]) -> ApiKey:
    values = {k: v for k, v in row._mapping.items() if k != "digest"}
    return ApiKey(**values | {"scopes": tuple(row.scopes.split(" "))})
