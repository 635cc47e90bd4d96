"""The registry of groups: one contract, on SQLite and on PostgreSQL."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from gpo_ray.errors import DataError, UnknownGroupError
from gpo_ray.model.texts import AnsweredSlate
from gpo_ray.serving.registry.database import open_database
from gpo_ray.serving.registry.groups import Registry, VersionConflict

TEA = AnsweredSlate(prompt="Tea?", responses=("yes", "no"), share=(0.1 + 0.2, 0.7))
RUM = AnsweredSlate(prompt="Rum, “straight”? 🥃", responses=("yes", "no", "both"), choice=2)
FRESH = itertools.count()


@pytest.fixture
def registry(database):
    return Registry(database)


def test_a_group_comes_back_as_it_was_put(registry):
    before = datetime.now(UTC)
    stored, created = registry.put("t", "Zürich 1/2", "a 'town' %s", (TEA, RUM))
    assert created
    assert stored.version == 1
    assert (stored.group_id, stored.description, stored.context) == ("Zürich 1/2", "a 'town' %s", (TEA, RUM))
    assert before - timedelta(seconds=1) < stored.created_at == stored.updated_at
    assert stored.created_at.utcoffset() == timedelta(0)
    assert registry.get("t", "Zürich 1/2") == stored
    assert registry.version("t", "Zürich 1/2") == stored.etag


def test_the_same_content_again_changes_nothing(registry):
    first, _ = registry.put("t", "g", "d", (TEA,))
    assert registry.put("t", "g", "d", (TEA,)) == (first, False)
    assert registry.put("t", "g", "d", (TEA,), expected_version=1) == (first, False)
    assert registry.get("t", "g") == first


@pytest.mark.parametrize(
    ("description", "context"), [("e", (TEA,)), ("d", (TEA, RUM)), ("d", (RUM,)), ("d", ())]
)
def test_changed_content_is_a_new_version(registry, description, context):
    first, _ = registry.put("t", "g", "d", (TEA,))
    second, created = registry.put("t", "g", description, context)
    assert not created
    assert second.version == 2
    assert second.etag != first.etag
    assert second.created_at == first.created_at
    assert second.updated_at >= first.updated_at
    assert registry.get("t", "g") == second
    back, _ = registry.put("t", "g", "d", (TEA,))
    assert back.version == 3
    assert back.etag not in (first.etag, second.etag)


def test_an_expected_version_protects_from_lost_updates(registry):
    first, _ = registry.put("t", "g", "d", (TEA,))
    second, _ = registry.put("t", "g", "e", (TEA,), expected_version=first.etag)
    for stale in (1, first.etag, 3, "2-0"):
        with pytest.raises(VersionConflict, match="is in version 2"):
            registry.put("t", "g", "f", (TEA,), expected_version=stale)
        with pytest.raises(VersionConflict, match="is in version 2"):
            registry.delete("t", "g", expected_version=stale)
    with pytest.raises(VersionConflict, match="exists already"):
        registry.put("t", "g", "e", (TEA,), must_be_new=True)
    assert registry.get("t", "g") == second
    registry.delete("t", "g", expected_version=2)


def test_an_expected_version_of_no_group(registry):
    with pytest.raises(VersionConflict, match="does not exist"):
        registry.put("t", "g", "d", (TEA,), expected_version=1)
    with pytest.raises(VersionConflict, match="does not exist"):
        registry.put("t", "g", "d", (TEA,), expected_version=0)
    assert registry.list("t") == ()
    assert registry.put("t", "g", "d", (TEA,), must_be_new=True)[1]


def test_versions_of_several_groups_are_those_of_each(registry):
    for tenant, group_id in (("a", "x"), ("a", "y"), ("b", "x"), ("a", "gone")):
        registry.put(tenant, group_id, tenant + group_id, (TEA,))
    registry.delete("a", "gone")
    wanted = [("a", "y"), ("b", "x"), ("a", "x"), ("b", "y"), ("a", "gone"), ("a", "y"), ("c", "x")]
    found = registry.versions(wanted)
    assert found == [registry.version(*w) for w in wanted]
    assert [f is None for f in found] == [False, False, False, True, True, False, True]
    assert registry.versions([("a", "x")]) == [found[2]]
    registry.put("a", "y", "changed", (TEA,))
    assert registry.versions(wanted)[0] == registry.version("a", "y") != found[0]
    with pytest.raises(DataError):
        registry.versions([("a", "x"), ("a", "")])


def test_unknown_groups(registry):
    registry.put("t", "g", "d", (TEA,))
    for group in ("h", "G", "g ", "g%"):
        assert registry.version("t", group) is None
        with pytest.raises(UnknownGroupError, match="not registered"):
            registry.get("t", group)
        with pytest.raises(UnknownGroupError, match="not registered"):
            registry.delete("t", group, expected_version=1)


def test_no_version_is_given_twice(registry):
    first, _ = registry.put("t", "g", "d", (TEA,))
    registry.delete("t", "g")
    assert registry.version("t", "g") is None
    assert registry.list("t") == ()
    with pytest.raises(UnknownGroupError):
        registry.get("t", "g")
    with pytest.raises(UnknownGroupError):
        registry.delete("t", "g")
    with pytest.raises(VersionConflict):
        registry.put("t", "g", "e", (TEA,), expected_version=1)
    again, created = registry.put("t", "g", "d", (TEA,))
    assert created
    assert again.version == 2
    assert again.etag != first.etag
    assert again.created_at > first.created_at


def test_pages_are_in_the_order_of_code_points(registry):
    ids = ["b", "a", "B", "é", "a-b", "ab", "a b", "_", "10", "9", "𝒳", "\uffff", "A", "%", "a'"]
    for i, group in enumerate(ids):
        registry.put("t", group, group * 2, (TEA, RUM)[: i % 3])
    registry.delete("t", "ab")
    left = sorted(set(ids) - {"ab"})
    for limit in (1, 4, 14, 100):
        seen, after = [], None
        while page := registry.list("t", after, limit):
            assert len(page) <= limit
            seen += page
            after = page[-1].group_id
        assert [s.group_id for s in seen] == left
    for summary in seen:
        group = registry.get("t", summary.group_id)
        assert summary.answers == len(group.context)
        for name in ("version", "etag", "description", "created_at", "updated_at"):
            assert getattr(summary, name) == getattr(group, name)
    with pytest.raises(ValueError, match="limit"):
        registry.list("t", limit=0)


def test_a_list_reads_no_deleted_groups(registry, database):
    for i in range(20):
        registry.put("t", f"{i:02}", "", (TEA,))
        if i != 10:
            registry.delete("t", f"{i:02}")
    assert [g.group_id for g in registry.list("t", limit=5)] == ["10"]
    statements = []
    event.listen(database, "before_cursor_execute", lambda *a: statements.append((a[2], a[3])))
    registry.list("t", after="05", limit=5)
    explain = "EXPLAIN QUERY PLAN " if database.dialect.name == "sqlite" else "EXPLAIN "
    with database.connect() as connection:
        if database.dialect.name == "postgresql":
            connection.exec_driver_sql("SET enable_seqscan = off")  # which is faster for so few rows
        plan = connection.exec_driver_sql(explain + statements[0][0], statements[0][1]).all()
    assert "gpo_groups_that_exist" in str(plan)


@pytest.mark.parametrize("text", ["a\0b", "a\ud800", "\udfff"], ids=["NUL", "high half", "low half"])
def test_texts_that_cannot_be_stored(registry, text):
    answer = {"prompt": "Tea?", "responses": ("yes", "no"), "choice": 0}
    puts = [
        (text, "g", "d", ()),
        ("t", text, "d", ()),
        ("t", "g", text, ()),
        ("t", "g", "d", (TEA, AnsweredSlate.model_construct(**answer | {"prompt": text}))),
        ("t", "g", "d", (TEA, AnsweredSlate.model_construct(**answer | {"responses": ("yes", text)}))),
    ]
    for arguments in puts:
        with pytest.raises(DataError, match=r"NUL|surrogate"):
            registry.put(*arguments)
    for read in (registry.get, registry.version, registry.delete, registry.list):
        for arguments in ((text, "g"), ("t", text)):
            with pytest.raises(DataError, match=r"NUL|surrogate"):
                read(*arguments)
    assert registry.list("t") == ()


@pytest.mark.parametrize("length", [0, 201])
def test_ids_of_wrong_length(registry, length):
    for call in (registry.get, registry.version, registry.delete):
        with pytest.raises(DataError, match=f"{length} characters"):
            call("t", "é" * length)
    with pytest.raises(DataError, match=f"{length} characters"):
        registry.put("t", "é" * length, "", ())
    registry.put("t", "𝒳" * 200, "", ())


tenants, ids = st.sampled_from(["a", "A", "b", "a-", "-a"]), st.sampled_from(["1", "a", "2"])
operation = st.tuples(
    st.sampled_from(["put", "put", "put", "delete", "version"]), tenants, ids, st.sampled_from("xyz")
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(operation, max_size=25))
def test_a_tenant_sees_its_own_groups_only(registry, operations):
    fresh = next(FRESH)
    model = {}
    for what, tenant, group, text in operations:
        mine = (f"{fresh}{tenant}", group)
        if what == "put":
            _, created = registry.put(*mine, text, (TEA,))
            assert created == (mine not in model)
            model[mine] = text
        elif what == "delete" and mine in model:
            registry.delete(*mine)
            del model[mine]
        elif what == "delete":
            with pytest.raises(UnknownGroupError):
                registry.delete(*mine)
        else:
            assert (registry.version(*mine) is None) == (mine not in model)
    for tenant in ("a", "A", "b", "a-", "-a"):
        expected = {g: text for (t, g), text in model.items() if t == f"{fresh}{tenant}"}
        assert {s.group_id: s.description for s in registry.list(f"{fresh}{tenant}")} == expected
        for group in ("1", "a", "2"):
            if group in expected:
                assert registry.get(f"{fresh}{tenant}", group).description == expected[group]
            else:
                with pytest.raises(UnknownGroupError):
                    registry.get(f"{fresh}{tenant}", group)


def test_threads_share_a_registry(registry):
    def work(name):
        for i in range(10):
            registry.put("t", f"{name}-{i}", "d", (TEA,))
            assert registry.version("t", f"{name}-{i}").startswith("1-")

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(work, range(12))) == [None] * 12
    assert len(registry.list("t", limit=1000)) == 120


def test_a_group_put_by_one_replica_is_seen_by_all(registry, database_url):
    other = open_database(database_url)
    try:
        stored, _ = registry.put("t", "g", "d", (TEA,))
        assert Registry(other).get("t", "g") == stored
        changed, _ = Registry(other).put("t", "g", "e", (TEA,), expected_version=stored.etag)
        assert registry.version("t", "g") == changed.etag
        Registry(other).delete("t", "g")
        assert registry.version("t", "g") is None
    finally:
        other.dispose()


def test_processes_lose_no_update(registry, database_url, workers):
    registry.put("t", "counter", "0", (TEA,))
    running = workers("increment", database_url, 2)
    assert [w.wait(timeout=120) for w in running] == [0, 0]
    assert registry.get("t", "counter").description == "80"
    assert registry.get("t", "counter").version == 81


def test_one_process_alone_creates_a_group(registry, database_url, workers):
    running = workers("claim", database_url, 2)
    won = [w.communicate(timeout=120)[0].split() for w in running]
    assert [w.returncode for w in running] == [0, 0]
    assert sorted(won[0] + won[1]) == sorted(f"g{i}" for i in range(40))
    assert {s.version for s in registry.list("t", limit=1000)} == {1}


def test_kill_9_loses_nothing_that_was_stored(registry, database_url, workers):
    (worker,) = workers("register", database_url, 1)
    said = [worker.stdout.readline().strip() for _ in range(25)]
    worker.kill()
    said += worker.stdout.read().split()
    found = {s.group_id: s for s in registry.list("t", limit=10_000)}
    assert set(said) <= set(found)
    assert len(found) - len(said) in (0, 1)
    assert registry.get("t", said[-1]).description == f"number {len(said) - 1}"
    assert registry.put("t", "after", "", (TEA,))[1]


def held(folder, secret):
    """Files of a database that hold some bytes."""
    return [p.name for p in sorted(folder.glob("groups.sqlite*")) if secret.encode() in p.read_bytes()]


@pytest.mark.parametrize("length", [10, 3_000, 40_000])
@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_what_was_deleted_is_in_no_file(tmp_path, how, length):
    engine = open_database(f"sqlite:///{tmp_path}/groups.sqlite")
    registry, reader = Registry(engine), Registry(engine)
    for i in range(20):  # pages around it that are full
        registry.put(
            "t", f"other-{i}", "x" * 700, (AnsweredSlate(prompt="p", responses=("a", "b"), choice=0),)
        )
    told = AnsweredSlate(prompt="only-here " * (length // 10), responses=("a", "b"), choice=0)
    registry.put("t", "g", "also-here", (told,))
    assert held(tmp_path, "only-here")
    assert reader.get("t", "g").description == "also-here"
    if how == "deleted":
        registry.delete("t", "g")
    else:
        registry.put("t", "g", "", (AnsweredSlate(prompt="p", responses=("a", "b"), choice=1),))
    assert held(tmp_path, "only-here") == held(tmp_path, "also-here") == []
    assert len(registry.list("t")) == 20 + (how == "replaced")
    engine.dispose()


def test_what_an_earlier_version_deleted_goes_at_the_next_start(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path}/groups.sqlite")
    Registry(engine).put(
        "t", "g", "", (AnsweredSlate(prompt="only-here " * 3000, responses=("a", "b"), choice=0),)
    )
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA secure_delete=OFF")
        connection.exec_driver_sql("DELETE FROM gpo_groups")
        connection.exec_driver_sql("PRAGMA user_version=0")
    engine.dispose()
    assert held(tmp_path, "only-here")
    open_database(f"sqlite:///{tmp_path}/groups.sqlite").dispose()
    assert held(tmp_path, "only-here") == []
