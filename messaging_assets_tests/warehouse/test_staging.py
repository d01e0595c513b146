"""Loading by dlt: what goes wrong there comes out as an error of ours, without values of rows."""

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from messaging_assets.api.errors import MalformedPageError, MessagingError
from messaging_assets.warehouse.errors import StagingError, WarehouseError, WarehouseUnusableError
from messaging_assets.warehouse.failures import typed_failures
from messaging_assets_tests.conftest import Project
from messaging_assets_tests.warehouse.conftest import Platform

SECRET = "what nobody may read"


def test_an_error_of_dlt_names_its_kind_and_nothing_else(platform: Platform) -> None:
    platform.sync("users")
    before = platform.rows("users")
    platform.sandbox.edit("users", platform.sandbox.ids("users")[0], name=SECRET)

    def stage(source: Any, pipeline: Any) -> None:
        resource = source.resources["users"]
        resource.add_map(lambda _: int(SECRET))
        pipeline.run(source)

    with pytest.raises(StagingError) as caught:
        platform.sync("users", stage=stage)
    assert "ValueError" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert platform.rows("users") == before
    assert not list(platform.location.pipelines("chat", "users").parent.iterdir())
    assert platform.sync("users").changed == 1


def test_a_job_that_fails_is_an_error(platform: Platform) -> None:
    def stage(source: Any, pipeline: Any) -> None:
        # Something else stands where dlt wants to make its table.
        pipeline.extract(source)
        pipeline.normalize()
        with pipeline.sql_client() as client:
            client.execute_sql("CREATE SCHEMA chat_staging")
            client.execute_sql("CREATE VIEW chat_staging.users AS SELECT 1 AS id")
        pipeline.load()

    with pytest.raises(WarehouseError, match="CatalogException"):
        platform.sync("users", stage=stage)
    assert platform.sync("users").new == 45


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MalformedPageError("as it is"), MalformedPageError),
        (duckdb.ConversionException(SECRET), WarehouseError),
        (pa.ArrowInvalid(SECRET), WarehouseError),
        (RecursionError(SECRET), WarehouseError),
        (MemoryError(SECRET), WarehouseError),
        (UnicodeEncodeError("utf-8", SECRET, 0, 1, SECRET), WarehouseError),
        (OSError(28, "No space left on device", SECRET), WarehouseUnusableError),
    ],
)
def test_errors_of_libraries_become_errors_of_ours(
    tmp_path: Path, error: Exception, expected: type[MessagingError]
) -> None:
    with pytest.raises(MessagingError) as caught, typed_failures(tmp_path):
        raise error
    assert type(caught.value) is expected
    assert SECRET not in str(caught.value)


def test_mistakes_of_ours_stay_visible(tmp_path: Path) -> None:
    with pytest.raises(AssertionError), typed_failures(tmp_path):
        raise AssertionError


def test_an_error_within_the_last_transaction_changes_nothing(
    platform: Platform, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform.sync("users")
    before = platform.rows("users")
    platform.sandbox.edit("users", platform.sandbox.ids("users")[0], name="Ada")

    def refuse(*_: Any, **__: Any) -> None:
        raise duckdb.ConstraintException(SECRET)

    with monkeypatch.context() as patch:
        patch.setattr("messaging_assets.warehouse.sync.decide", refuse)
        with pytest.raises(WarehouseError, match="ConstraintException"):
            platform.sync("users")
    assert platform.rows("users") == before
    assert platform.sync("users").changed == 1
