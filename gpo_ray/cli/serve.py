"""The commands ``gpo serve ...``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpo_ray.errors import ConfigError
from gpo_ray.runtime.terminal_text import shown

if TYPE_CHECKING:  # a command that needs the database's packages imports them
    from gpo_ray.serving.registry.groups import Registry
    from gpo_ray.serving.registry.keys import ApiKey, KeyRing

_MAX_TENANTS = 10
app = typer.Typer(no_args_is_help=True, invoke_without_command=True)
key_app = typer.Typer(no_args_is_help=True, help="API keys of the service.")
app.add_typer(key_app, name="key")

DEFAULT_DATABASE = "sqlite:///gpo-groups.sqlite"
"""The same as :data:`gpo_ray.serving.settings.DEFAULT_DATABASE`, whose module takes long to import."""

Database = Annotated[
    str,
    typer.Option(envvar="GPO_DATABASE", help="Where groups and keys are: sqlite:///FILE or postgresql://..."),
]
Json = Annotated[bool, typer.Option("--json", help="End with one JSON object on one line.")]


@app.callback()
def serve(
    context: typer.Context,
    bundle: Annotated[str | None, typer.Option(help="Folder or URI of the bundle to serve.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings; the options here come before it.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Language model, if not the one the bundle was trained with.")
    ] = None,
    embeddings: Annotated[
        str | None, typer.Option(help="Embedding store whose questions need no language model.")
    ] = None,
    survey: Annotated[str | None, typer.Option(help="Survey whose questions the page offers.")] = None,
    database: Annotated[
        str | None,
        typer.Option(
            envvar="GPO_DATABASE", help="Where groups and keys are: sqlite:///FILE or postgresql://..."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; another needs API keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster; by default RAY_ADDRESS, else a local one.")
    ] = None,
) -> None:
    """Serve a bundle over HTTP until interrupted, or manage API keys (gpo serve key)."""
    if context.invoked_subcommand is not None:
        return
    from gpo_ray.runtime.ray_session import joined
    from gpo_ray.serving.settings import load_settings

    given = {
        "bundle": bundle,
        "model": model,
        "embeddings": embeddings,
        "survey": survey,
        "database": database,
    }
    settings = load_settings(config, {k: v for k, v in given.items() if v is not None})
    with joined(address) as capacity:
        capacity.check(settings.resource_request())
        with _extra_needed():
            from gpo_ray.serving.run import run
        run(settings, host, port, address, announce=lambda text: print(shown(text), flush=True))


@key_app.command("create")
def key_create(
    name: Annotated[str, typer.Option(help="What the key is for.")],
    tenant: Annotated[
        str,
        typer.Option(help="Whose groups it opens; no other's. Those registered without keys are public's."),
    ],
    scope: Annotated[list[str], typer.Option(help="read, write (and read) or admin (all); repeatable.")],
    database: Database = DEFAULT_DATABASE,
    as_json: Json = False,
) -> None:
    """Make an API key; its secret is shown this once.

    Groups that were registered without keys belong to the tenant "public".
    """
    with _tables(database) as (ring, registry):
        key, secret = ring.create(name, tenant, scope)
        held = registry.tenants()
    if as_json:
        print(json.dumps(_describe(key) | {"secret": secret, "groups": held}))
    else:
        allowed = ", ".join(key.scopes)
        print(f"key {key.key_id} of tenant {key.tenant} ({allowed}); its secret, shown this once:")
        print(secret)
        if held and tenant not in held:
            print(_whose(tenant, held))


@key_app.command("list")
def key_list(database: Database = DEFAULT_DATABASE, as_json: Json = False) -> None:
    """Show all API keys, without their secrets."""
    with _key_ring(database) as ring:
        found = [_describe(key) for key in ring.list()]
    if as_json:
        print(json.dumps({"keys": found}))
        return
    from rich.console import Console
    from rich.table import Table

    from gpo_ray.runtime.terminal_text import ShownText as Text

    table = Table()
    for column in ("id", "name", "tenant", "scopes", "created", "revoked"):
        table.add_column(column, no_wrap=column == "id", overflow="fold")
    for key in found:
        cells = (" ".join(v) if isinstance(v, list) else v or "" for v in key.values())
        table.add_row(*(Text(cell) for cell in cells))
    Console().print(table)


@key_app.command("revoke")
def key_revoke(
    key_id: Annotated[str, typer.Argument(help="Id of the key, as `gpo serve key list` shows it.")],
    database: Database = DEFAULT_DATABASE,
    as_json: Json = False,
) -> None:
    """Make an API key useless from now on."""
    with _key_ring(database) as ring:
        key = ring.revoke(key_id)
    print(json.dumps(_describe(key)) if as_json else f"key {key.key_id} ({key.name}) is revoked")


def _whose(tenant: str, held: dict[str, int]) -> str:
    """Return a hint for a new key whose tenant has no groups while other tenants have some."""
    from gpo_ray.serving.settings import PUBLIC

    some = [f"{name} ({count})" for name, count in list(held.items())[:_MAX_TENANTS]]
    more = [f"{len(held) - _MAX_TENANTS} more"] if len(held) > _MAX_TENANTS else []
    other = PUBLIC if PUBLIC in held else next(iter(held))
    return (
        f"tenant {tenant} has no groups; there are groups of: {', '.join(some + more)}. Groups registered "
        f"without keys are {PUBLIC}'s. This key does not reach them; one made with --tenant {other} does"
    )


@contextmanager
def _tables(database: str) -> Iterator[tuple[KeyRing, Registry]]:
    with _extra_needed():
        from gpo_ray.serving.registry.database import open_database
        from gpo_ray.serving.registry.groups import Registry
        from gpo_ray.serving.registry.keys import KeyRing
    engine = open_database(database)
    try:
        yield KeyRing(engine), Registry(engine)
    finally:
        engine.dispose()


@contextmanager
def _key_ring(database: str) -> Iterator[KeyRing]:
    with _tables(database) as (ring, _):
        yield ring


@contextmanager
def _extra_needed() -> Iterator[None]:
    try:
        yield
    except ImportError as e:
        raise ConfigError(f"the service needs {e.name}; install it with: pip install 'gpo-ray[serve]'") from e


def _describe(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.key_id,
        "name": key.name,
        "tenant": key.tenant,
        "scopes": list(key.scopes),
        "created_at": _iso(key.created_at),
        "revoked_at": key.revoked_at and _iso(key.revoked_at),
    }


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
