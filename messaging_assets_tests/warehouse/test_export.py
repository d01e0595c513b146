"""Tables as Parquet files: what is in them, what a second export writes, what a reader sees meanwhile."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from messaging_assets.api.connection import Analytics, connection_from_dict
from messaging_assets.warehouse.database import open_database
from messaging_assets.warehouse.errors import WarehouseBusyError, WarehouseError, WarehouseMissingError
from messaging_assets.warehouse.export import Days, Exported, export_folder, export_tables
from messaging_assets.warehouse.location import WarehouseLocation
from messaging_assets_tests.conftest import Project

GUIDE = {"client": {"base_url": "https://api.example.com"}, "resources": ["users", "channels", "messages"]}
CONNECTION = replace(connection_from_dict("chat", GUIDE), analytics=Analytics(time_zone="Europe/Zurich"))
TABLES = """
    CREATE SCHEMA chat; CREATE SCHEMA chat_analytics;
    CREATE TABLE chat.users (id VARCHAR, name VARCHAR, created_at TIMESTAMPTZ, deleted_at TIMESTAMPTZ,
        _row_hash BIGINT);
    CREATE TABLE chat.channels AS FROM chat.users;
    CREATE TABLE chat.messages AS SELECT *, NULL::JSON AS reactions FROM chat.users;
    CREATE TABLE chat._sync_ledger (resource VARCHAR);
    CREATE TABLE chat_analytics.user_activity (user_id VARCHAR, messages BIGINT);
    CREATE TABLE chat_analytics._models (model VARCHAR);
"""
MESSAGES = """
    INSERT INTO chat.messages BY NAME
    SELECT * FROM (VALUES
        ('before midnight', '2026-03-28 22:59:59Z'::TIMESTAMPTZ, NULL::TIMESTAMPTZ, '[{"name": "ok"}]'::JSON),
        ('after midnight', '2026-03-28 23:00:00Z', NULL, NULL),
        ('in summer time', '2026-03-29 21:59:59Z', '2026-04-01 00:00:00Z', NULL),
        ('on Monday', '2026-03-29 22:00:00Z', NULL, NULL),
        ('without a day', NULL, NULL, NULL)
    ) AS rows (id, created_at, deleted_at, reactions)
"""


class Warehouse:
    """A warehouse of hand-made rows, and its exports."""

    def __init__(self, folder: Path) -> None:
        self.location = WarehouseLocation(folder / "data" / "chat.duckdb")
        self.location.prepare()
        self.folder = folder / "out"
        self.change(TABLES, MESSAGES, "INSERT INTO chat.users VALUES ('u', 'Ada', now(), NULL, 1)")

    def change(self, *statements: str) -> None:
        with open_database(self.location.database) as database:
            for statement in statements:
                database.execute(statement)

    def export(self, *tables: str, **settings: Any) -> dict[str, Exported]:
        done = export_tables(self.location, CONNECTION, self.folder, tables=tables, **settings)
        return {exported.table: exported for exported in done}

    def messages(self) -> dict[str | None, list[str]]:
        """The ids of the messages in the files, by day."""
        return messages_in(self.folder)

    def files(self) -> dict[str, int]:
        """The number of each file that a reader sees; a file that is written anew has another one."""
        found = (
            str(file.relative_to(self.folder))
            for pattern in ("*/*.parquet", "*/*/*/*.parquet")
            for file in self.folder.glob(pattern)
        )
        return {name: (self.folder / name).stat().st_ino for name in found if "/." not in name}


def messages_in(folder: Path) -> dict[str | None, list[str]]:
    rows = duckdb.execute(
        "SELECT day::VARCHAR, list(id ORDER BY created_at) FROM read_parquet(?, hive_partitioning = true) "
        "GROUP BY 1 ORDER BY 1",
        [f"{folder}/chat/messages/*/*.parquet"],
    ).fetchall()
    return dict(rows)


@pytest.fixture
def warehouse(project: Project) -> Warehouse:
    return Warehouse(project.path)


ALL = {
    "2026-03-28": ["before midnight"],
    "2026-03-29": ["after midnight", "in summer time"],
    "2026-03-30": ["on Monday"],
    None: ["without a day"],
}


def test_messages_lie_by_day_of_the_connections_time_zone_the_others_in_one_file(
    warehouse: Warehouse,
) -> None:
    done = warehouse.export()
    assert warehouse.messages() == ALL
    assert set(warehouse.files()) == {
        "chat/channels.parquet",
        "chat/users.parquet",
        "chat/messages/day=2026-03-28/messages.parquet",
        "chat/messages/day=2026-03-29/messages.parquet",
        "chat/messages/day=2026-03-30/messages.parquet",
        "chat/messages/day=__HIVE_DEFAULT_PARTITION__/messages.parquet",
        "chat_analytics/user_activity.parquet",
    }
    assert {name: (e.rows, e.written, e.unchanged) for name, e in done.items()} == {
        "chat.channels": (0, 1, 0),
        "chat.messages": (5, 4, 0),
        "chat.users": (1, 1, 0),
        "chat_analytics.user_activity": (0, 1, 0),
    }
    assert done["chat.messages"].path == warehouse.folder / "chat" / "messages"


def test_files_hold_what_the_table_holds_as_plain_types(warehouse: Warehouse) -> None:
    warehouse.export("messages")
    table = ds.dataset(warehouse.folder / "chat" / "messages", partitioning="hive").to_table()
    rows = {row["id"]: row for row in table.to_pylist()}
    assert table.column_names == ["id", "name", "created_at", "deleted_at", "reactions", "day"]
    assert rows["before midnight"]["reactions"] == '[{"name": "ok"}]'
    assert str(table.schema.field("reactions").type) == "string"
    assert str(table.schema.field("created_at").type) == "timestamp[us, tz=UTC]"
    assert rows["in summer time"]["deleted_at"].isoformat() == "2026-04-01T00:00:00+00:00"
    assert rows["on Monday"]["deleted_at"] is None


def test_a_second_export_writes_only_what_changed(warehouse: Warehouse) -> None:
    warehouse.export()
    first = warehouse.files()
    again = warehouse.export()
    assert warehouse.files() == first
    assert {(e.written, e.removed) for e in again.values()} == {(0, 0)}

    warehouse.change("UPDATE chat.messages SET deleted_at = now() WHERE id = 'on Monday'")
    third = warehouse.export()
    now = warehouse.files()
    changed = "chat/messages/day=2026-03-30/messages.parquet"
    assert {name for name in first if now[name] != first[name]} == {changed}
    assert (third["chat.messages"].written, third["chat.messages"].unchanged) == (1, 3)
    file = pq.read_table(warehouse.folder / changed)
    assert file["deleted_at"].null_count == 0


def test_a_column_that_is_new_or_of_another_type_is_written(warehouse: Warehouse) -> None:
    warehouse.export("users")
    warehouse.change("ALTER TABLE chat.users ADD COLUMN email VARCHAR")
    assert warehouse.export("users")["chat.users"].written == 1
    warehouse.change("ALTER TABLE chat.users ALTER email TYPE BIGINT")
    assert warehouse.export("users")["chat.users"].written == 1
    assert str(pq.read_schema(warehouse.folder / "chat/users.parquet").field("email").type) == "int64"


def test_a_day_without_rows_goes(warehouse: Warehouse) -> None:
    warehouse.export()
    warehouse.change("UPDATE chat.messages SET created_at = '2026-03-29 12:00Z' WHERE id = 'on Monday'")
    done = warehouse.export("messages")["chat.messages"]
    assert (done.written, done.unchanged, done.removed) == (1, 2, 1)
    assert "2026-03-30" not in warehouse.messages()
    assert warehouse.messages()["2026-03-29"] == ["after midnight", "on Monday", "in summer time"]


@pytest.mark.parametrize(
    ("days", "new"),
    [
        (Days(date(2026, 3, 29), date(2026, 3, 29)), {"2026-03-29"}),
        (Days(first=date(2026, 3, 29)), {"2026-03-29", "2026-03-30"}),
        (Days(last=date(2026, 3, 29)), {"2026-03-28", "2026-03-29"}),
        (Days(), {"2026-03-28", "2026-03-29", "2026-03-30", None}),
    ],
)
def test_only_the_days_that_are_asked_for_are_brought_up_to_date(
    warehouse: Warehouse, days: Days, new: set[str | None]
) -> None:
    warehouse.export()
    warehouse.change("UPDATE chat.messages SET id = id || ', edited'")
    done = warehouse.export("messages", days=days)["chat.messages"]
    assert (done.written, done.unchanged, done.removed) == (len(new), 0, 0)
    edited = {day: [f"{name}, edited" for name in names] for day, names in ALL.items()}
    assert warehouse.messages() == {day: edited[day] if day in new else ALL[day] for day in ALL}


def test_days_out_of_range_are_not_exported_the_first_time_either(warehouse: Warehouse) -> None:
    done = warehouse.export("messages", days=Days(date(2026, 3, 30), date(2027, 1, 1)))["chat.messages"]
    assert (done.rows, done.written) == (1, 1)
    assert warehouse.messages() == {"2026-03-30": ["on Monday"]}


def test_an_empty_table_shows_its_columns(warehouse: Warehouse) -> None:
    warehouse.change("DELETE FROM chat.messages")
    warehouse.export("messages")
    assert warehouse.messages() == {}
    warehouse.change(MESSAGES)
    warehouse.export("messages")
    assert warehouse.messages() == ALL


def test_messages_without_created_at_are_all_without_a_day(warehouse: Warehouse) -> None:
    warehouse.change("ALTER TABLE chat.messages DROP created_at")
    done = warehouse.export("messages")["chat.messages"]
    assert (done.rows, done.written) == (5, 1)
    folders = [folder.name for folder in (warehouse.folder / "chat" / "messages").iterdir()]
    assert folders == ["day=__HIVE_DEFAULT_PARTITION__"]


@pytest.fixture
def while_writing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Has something done each time that a file is about to be complete."""

    def hook(action: Callable[[], None]) -> None:
        close = pq.ParquetWriter.close

        def close_and_act(self: pq.ParquetWriter) -> None:
            close(self)
            action()

        monkeypatch.setattr(pq.ParquetWriter, "close", close_and_act)

    yield hook
    monkeypatch.undo()


def test_a_reader_never_sees_half_an_export(
    warehouse: Warehouse, while_writing: Callable[[Callable[[], None]], None]
) -> None:
    warehouse.export()
    warehouse.change("UPDATE chat.messages SET id = id || ', edited'", "UPDATE chat.users SET name = 'Grace'")
    seen = []

    def look() -> None:
        (user,) = pq.read_table(warehouse.folder / "chat" / "users.parquet")["name"].to_pylist()
        seen.append((user, warehouse.messages()))

    while_writing(look)
    warehouse.export("messages", "users")
    edited = {day: [f"{name}, edited" for name in names] for day, names in ALL.items()}
    assert len(seen) == 5
    assert seen[:4] == [("Ada", ALL)] * 4
    assert seen[4] == ("Ada", edited)
    assert warehouse.messages() == edited


def test_an_export_that_fails_leaves_the_last_one_and_nothing_beside_it(
    warehouse: Warehouse, while_writing: Callable[[Callable[[], None]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse.export()
    before = warehouse.files()
    everything = sorted(warehouse.folder.rglob("*"))
    warehouse.change("UPDATE chat.messages SET id = id || ', edited'", "UPDATE chat.users SET name = 'Grace'")

    def full() -> None:
        raise OSError(28, "No space left on device")

    while_writing(full)
    for table in ("messages", "users"):
        with pytest.raises(WarehouseError, match="the folder can't be written: No space left") as failure:
            warehouse.export(table)
        assert failure.value.where == str(warehouse.folder)
    assert warehouse.files() == before
    assert sorted(warehouse.folder.rglob("*")) == everything
    monkeypatch.undo()
    assert warehouse.export("messages")["chat.messages"].written == 4


def test_what_a_killed_export_left_goes_with_the_next_change(warehouse: Warehouse) -> None:
    warehouse.export()
    left = warehouse.folder / "chat" / ".messages.0123"
    (left / "day=2026-03-28").mkdir(parents=True)
    (warehouse.folder / "chat" / ".messages.link").symlink_to(left.name)
    warehouse.change("DELETE FROM chat.messages WHERE id = 'on Monday'")
    warehouse.export()
    hidden = [file for file in (warehouse.folder / "chat").iterdir() if file.name.startswith(".messages")]
    assert hidden == [(warehouse.folder / "chat" / "messages").resolve()]
    assert len(warehouse.messages()) == 3


def test_only_the_owner_can_read_the_files(warehouse: Warehouse) -> None:
    warehouse.export()
    made = [warehouse.folder, *warehouse.folder.rglob("*")]
    assert len(made) > 10
    assert all(path.stat().st_mode & 0o077 == 0 for path in made)


def test_two_exports_into_one_folder_take_turns(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MESSAGING__LOCK_TIMEOUT_SECONDS", "0")
    warehouse.folder.mkdir()
    with (
        FileLock(warehouse.folder / ".chat.lock"),
        pytest.raises(WarehouseBusyError, match="another process exports into this folder"),
    ):
        warehouse.export()
    assert warehouse.export()


def test_a_table_that_is_not_there_is_named_with_those_that_are(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError, match="there is no table _models, massages of chat") as failure:
        warehouse.export("massages", "messages", "_models")
    assert failure.value.remedy == "name some of these: channels, messages, users, user_activity"
    assert not warehouse.folder.exists()


def test_a_folder_that_cannot_be_written_is_named(warehouse: Warehouse) -> None:
    warehouse.folder.write_text("a file")
    with pytest.raises(WarehouseError, match="the folder can't be written: File exists"):
        warehouse.export()


def test_without_a_warehouse_there_is_nothing_to_export(project: Project) -> None:
    location = WarehouseLocation(project.path / "none.duckdb")
    with pytest.raises(WarehouseMissingError):
        export_tables(location, CONNECTION, project.path / "out")
    assert not (project.path / "out").exists()


def test_exports_of_two_warehouses_in_one_folder_lie_apart() -> None:
    folders = {export_folder(WarehouseLocation(Path(f"/data/{name}.duckdb"))) for name in ("real", "sandbox")}
    assert folders == {Path("/data/exports/real"), Path("/data/exports/sandbox")}
