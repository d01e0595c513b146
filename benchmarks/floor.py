"""The floor: what an expert would write by hand for this one API. Run by `scenarios` as a whole process.

Eight workers share a list of offsets; pages are parsed by orjson, gathered into Arrow tables and inserted
into DuckDB. It proves nothing, forgets deletions, keeps no books and believes the server's total.
"""

import asyncio
import sys
from typing import Any

import aiohttp
import duckdb
import orjson
import pyarrow as pa

LIMIT, IN_FLIGHT, BATCH_ROWS = 100, 8, 10_000
TIMES = ("created_at", "updated_at")
COLUMNS = {
    "users": ("id", "name", "email", "time_zone", "status", "is_bot", *TIMES),
    "channels": ("id", "name", "topic", "is_private", "member_count", *TIMES),
    "messages": ("id", "name", "channel_id", "user_id", "text", "reactions", "thread_parent_id", *TIMES),
}
TYPES = {"is_bot": pa.bool_(), "is_private": pa.bool_(), "member_count": pa.int64()}


class Table:
    """A table that is being filled.

    Args:
        database: The open database.
        name: The table's name, which is the resource's.
    """

    def __init__(self, database: duckdb.DuckDBPyConnection, name: str) -> None:
        self.name = name
        self._database = database
        self._schema = pa.schema([(column, TYPES.get(column, pa.string())) for column in COLUMNS[name]])
        self._rows: list[dict[str, Any]] = []
        self._write("CREATE TABLE {name} AS {rows}")

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Takes rows, and writes them when there are enough."""
        self._rows += rows
        if len(self._rows) >= BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Writes the rows that are left."""
        for row in self._rows:
            if "reactions" in row:
                row["reactions"] = orjson.dumps(row["reactions"]).decode()
        self._write("INSERT INTO {name} {rows}")
        self._rows = []

    def _write(self, statement: str) -> None:
        typed = [f"{column}::TIMESTAMPTZ AS {column}" for column in TIMES]
        if "reactions" in COLUMNS[self.name]:
            typed.append("reactions::JSON AS reactions")
        self._database.register("batch", pa.Table.from_pylist(self._rows, self._schema))
        rows = f"SELECT * REPLACE ({', '.join(typed)}) FROM batch"  # noqa: S608 - fixed names
        self._database.execute(statement.format(name=self.name, rows=rows))
        self._database.unregister("batch")


async def load(session: aiohttp.ClientSession, url: str, table: Table) -> None:
    """Reads a list to the end that its first page tells."""

    async def page(offset: int) -> int:
        params = {"limit": LIMIT, "offset": offset}
        async with session.get(f"{url}/v1/{table.name}", params=params) as response:
            response.raise_for_status()
            answer = orjson.loads(await response.read())
        table.add(answer["data"])
        return int(answer["total"])

    offsets = iter(range(LIMIT, await page(0), LIMIT))

    async def work() -> None:
        for offset in offsets:
            await page(offset)

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    table.flush()


async def main(url: str, client_id: str, client_secret: str, file: str) -> None:
    """Loads users, channels and messages into a DuckDB file."""
    database = duckdb.connect(file)
    async with aiohttp.ClientSession() as session:
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
        async with session.post(f"{url}/oauth/token", data=form) as response:
            token = (await response.json())["access_token"]
        session.headers["Authorization"] = f"Bearer {token}"
        for name in COLUMNS:
            await load(session, url, Table(database, name))
    database.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
