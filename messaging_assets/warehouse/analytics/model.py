"""The models as their files describe them: columns, grain, and where each column comes from.

A file is the one source of truth: its header describes the table, the comment on each selected column
the column, and the lineage is derived from the SQL. No warehouse is looked at; what a model's raw columns
are called in one belongs to `sources`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import duckdb
from sqlglot import exp, parse_one
from sqlglot.lineage import lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope, traverse_scope

from messaging_assets.api.rules import ANALYTICS_COLUMNS
from messaging_assets.warehouse.columns import ColumnType
from messaging_assets.warehouse.spool import ROW_HASH
from messaging_assets.warehouse.sql import quoted
from messaging_assets.warehouse.table import DELETED_AT

FOLDER = Path(__file__).parent / "models"
# In the order in which people read about them.
NAMES = (
    "messages_enriched",
    "daily_channel_activity",
    "daily_workspace_activity",
    "user_activity",
    "channel_health",
    "response_times",
    "hourly_heatmap",
)
_DIALECT = "duckdb"
_OWN_COLUMNS = {DELETED_AT: ColumnType.TIMESTAMP.value, ROW_HASH: ColumnType.INTEGER.value}


def _type_of(word: str) -> str:
    column_type = ColumnType.TIMESTAMP if word.endswith("_at") else ColumnType.TEXT
    return str(column_type.value)


#: The raw tables in the words of the models: the type of each column by table. Ids are texts.
RAW_TABLES: Mapping[str, Mapping[str, str]] = {
    table: {**{word: _type_of(word) for word in words}, **_OWN_COLUMNS}
    for table, words in ANALYTICS_COLUMNS.items()
}


@dataclass(frozen=True, order=True)
class RawColumn:
    """A column of a raw table, in the words of the models.

    Attributes:
        table: `users`, `channels` or `messages`.
        column: The models' word for it, such as `channel_id`.
    """

    table: str
    column: str

    def __str__(self) -> str:
        return f"{self.table}.{self.column}"


@dataclass(frozen=True)
class ModelColumn:
    """A column of a model.

    Attributes:
        name: Its name.
        type: DuckDB's name of its type.
        description: What it says, for people.
        upstream: The raw columns that its values are made of, in order.
    """

    name: str
    type: str
    description: str
    upstream: tuple[RawColumn, ...]


@dataclass(frozen=True)
class Model:
    """A table of the analytics.

    Attributes:
        name: The table's name.
        description: What it holds, for people, as Markdown.
        grain: The columns of which each combination stands once.
        period: The column that says to which day (or week, by its Monday) a row belongs; None where a row
            stands for the whole time.
        compared: The columns that differ whenever a row does: all of them, or, where that is much faster,
            some that the file names.
        columns: Its columns, in order.
        reads: The raw columns it reads, by table; also those that only filter or join.
        sql: The query, as it stands in the file.
        path: The file.
    """

    name: str
    description: str
    grain: tuple[str, ...]
    period: str | None
    compared: tuple[str, ...]
    columns: tuple[ModelColumn, ...]
    reads: Mapping[str, tuple[str, ...]]
    sql: str
    path: Path

    def column(self, name: str) -> ModelColumn:
        """The column of this name.

        Raises:
            KeyError: There is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


@cache
def read_models() -> tuple[Model, ...]:
    """All models, in the order in which people read about them."""
    return tuple(read_model(FOLDER / f"{name}.sql") for name in NAMES)


def model_named(name: str) -> Model:
    """The model of this name.

    Raises:
        KeyError: There is none.
    """
    for model in read_models():
        if model.name == name:
            return model
    raise KeyError(name)


def read_model(path: Path) -> Model:
    """The model that a file describes.

    Raises:
        ValueError: Something is missing in the file.
    """
    sql = path.read_text(encoding="utf-8")
    header = _Header(sql)
    query = parse_one(sql, dialect=_DIALECT)
    assert isinstance(query, exp.Query)
    qualified = qualify(query.copy(), schema=dict(RAW_TABLES), dialect=_DIALECT)
    scope = build_scope(qualified)
    assert scope is not None
    types = _types(sql)
    columns = tuple(
        ModelColumn(
            name=selected.alias_or_name,
            type=types[selected.alias_or_name],
            description=_comment(selected, path),
            upstream=_upstream(selected.alias_or_name, scope),
        )
        for selected in query.selects
    )
    return Model(
        name=path.stem,
        description=header.description,
        grain=header.names("Grain"),
        period=next(iter(header.names("Period")), None),
        compared=header.names("Compared by") or tuple(column.name for column in columns),
        columns=columns,
        reads=_reads(qualified),
        sql=sql,
        path=path,
    )


class _Header:
    """The comment at the beginning of a file: paragraphs, and lines such as `Grain: day, channel_id`."""

    WORDS = ("Grain", "Period", "Compared by")

    def __init__(self, sql: str) -> None:
        lines = []
        for line in sql.splitlines():
            if not line.startswith("--"):
                break
            lines.append(line.removeprefix("--").removeprefix(" "))
        words = {line.partition(":")[0]: line.partition(":")[2] for line in lines}
        self._names = {word: words[word] for word in self.WORDS if word in words}
        text = "\n".join(line for line in lines if line.partition(":")[0] not in self.WORDS)
        self.description = text.strip()

    def names(self, word: str) -> tuple[str, ...]:
        return tuple(name.strip() for name in self._names.get(word, "").split(",") if name.strip())


def _comment(selected: exp.Expr, path: Path) -> str:
    comments = selected.comments or []
    if len(comments) != 1:
        raise ValueError(f"{path.name}: the column {selected.alias_or_name} needs one comment")
    return comments[0].strip()


def _upstream(column: str, scope: Scope) -> tuple[RawColumn, ...]:
    leaves = [node for node in lineage(column, scope.expression, scope=scope).walk() if not node.downstream]
    found = {
        RawColumn(leaf.expression.name, exp.to_column(leaf.name).name)
        for leaf in leaves
        if isinstance(leaf.expression, exp.Table)
    }
    return tuple(sorted(found))


def _reads(qualified: exp.Expr) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for scope in traverse_scope(qualified):
        for column in scope.columns:
            source = scope.sources.get(column.table)
            if isinstance(source, exp.Table):
                found.setdefault(source.name, set()).add(column.name)
    return {table: tuple(sorted(columns)) for table, columns in sorted(found.items())}


def _types(sql: str) -> dict[str, str]:
    """The types of a query's columns, as DuckDB finds them over empty tables."""
    with duckdb.connect() as database:
        for table, types in RAW_TABLES.items():
            columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in types.items())
            database.execute(f"CREATE TABLE {quoted(table)} ({columns})")
        return {row[0]: row[1] for row in database.execute(f"DESCRIBE {sql}").fetchall()}
