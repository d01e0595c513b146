"""The benchmark's server: paging, changes, counts, latency, and the process around it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import aiohttp
import orjson
import pytest
import requests
from aiohttp import web

from benchmarks.server import CHANNELS, CLIENT_ID, CLIENT_SECRET, TOKEN, USERS, ApiServer, Application

AUTHORISED = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def made() -> Application:
    """Read only."""
    return Application(messages=250)


def rows_of(body: bytes) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = orjson.loads(body)["data"]
    return rows


def all_rows(application: Application) -> list[dict[str, Any]]:
    return rows_of(application.messages.page(0, 10_000))


def test_pages_cut_one_ordered_list(made: Application) -> None:
    pages = [made.messages.page(offset, 100) for offset in (0, 100, 200, 250)]
    assert [len(rows_of(page)) for page in pages] == [100, 100, 50, 0]
    assert {orjson.loads(page)["total"] for page in pages} == {250}
    places = [(row["created_at"], row["id"]) for page in pages for row in rows_of(page)]
    assert places == sorted(set(places))


def test_a_message_is_as_long_as_said(made: Application) -> None:
    assert 300 < len(made.messages.page(0, 250)) / 250 < 320


def test_rows_are_appended_behind_the_last() -> None:
    application = Application(messages=100)
    before = all_rows(application)
    application.append(30)
    after = all_rows(application)
    assert after[:100] == before
    assert len({row["id"] for row in after}) == 130
    assert after[100]["created_at"] > before[-1]["created_at"]


def test_rows_are_deleted_and_the_others_stay() -> None:
    application = Application(messages=100)
    before = all_rows(application)
    application.delete(20)
    after = all_rows(application)
    assert len(after) == 80
    assert [row for row in before if row in after] == after


def test_edits_are_what_is_updated_since() -> None:
    application = Application(messages=100)
    newest = max(row["updated_at"] for row in all_rows(application))
    assert [row["updated_at"] for row in rows_of(application.messages.page(0, 100, newest))] == [newest]
    application.edit(7)
    found = rows_of(application.messages.page(0, 100, newest.replace("Z", "+00:00")))
    edited = [row for row in found if row["name"].startswith("edited")]
    assert len(edited) == 7
    assert all(row["updated_at"] > newest for row in edited)
    assert len(found) == 8
    application.append(1)
    assert all_rows(application)[-1]["created_at"] > max(row["updated_at"] for row in edited)
    application.edit(2)
    assert len(rows_of(application.messages.page(0, 100, max(row["updated_at"] for row in edited)))) == 4


def test_the_same_order_changes_the_same_rows() -> None:
    def changed() -> bytes:
        application = Application(messages=100)
        application.messages.delete(10, Random(1))
        application.messages.edit(10, Random(2))
        return application.messages.page(0, 100)

    assert changed() == changed()


def served(application: Application, ask: Callable[[aiohttp.ClientSession, str], Awaitable[Any]]) -> Any:
    """What comes of asking the application over HTTP."""

    async def exchange() -> Any:
        runner = web.ServerRunner(web.Server(application.answer))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            answer = await ask(session, f"http://{host}:{port}")
        await runner.cleanup()
        return answer

    return asyncio.run(exchange())


def test_each_answer_is_held_back_and_eight_wait_together() -> None:
    application = Application(messages=100, latency=0.05)

    async def ask(session: aiohttp.ClientSession, url: str) -> float:
        began = time.monotonic()
        answers = [session.get(f"{url}/v1/users", headers=AUTHORISED) for _ in range(8)]
        assert {answer.status for answer in await asyncio.gather(*answers)} == {200}
        return time.monotonic() - began

    assert served(application, ask) >= 0.045
    assert application.take_counts() == {"users": 8}


def test_compressed_for_those_who_accept_it() -> None:
    application = Application(messages=100, compressed=True)

    async def ask(session: aiohttp.ClientSession, url: str) -> list[tuple[str | None, int]]:
        found = []
        for accepted in ("gzip, deflate", "identity"):
            headers = {**AUTHORISED, "Accept-Encoding": accepted}
            async with session.get(f"{url}/v1/messages?limit=100", headers=headers) as answer:
                found.append((answer.headers.get("Content-Encoding"), len(await answer.read())))
        return found

    (encoding, size), (plain, plain_size) = served(application, ask)
    assert (encoding, plain) == ("gzip", None)
    assert size < plain_size / 2


def test_a_process_of_its_own() -> None:
    with ApiServer(messages=100) as server:
        form = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        token = requests.post(f"{server.base_url}/oauth/token", data=form, timeout=60).json()["access_token"]
        header = {"Authorization": f"Bearer {token}"}

        def total(resource: str) -> int:
            answer = requests.get(f"{server.base_url}/v1/{resource}", headers=header, timeout=60)
            return int(answer.json()["total"])

        assert [total(name) for name in ("users", "channels", "messages")] == [USERS, CHANNELS, 100]
        assert server.take_counts() == {"token": 1, "users": 1, "channels": 1, "messages": 1}
        server.append(5)
        server.delete(2)
        server.edit(1)
        server.wait(0.0)
        assert total("messages") == 103
        assert server.take_counts() == {"messages": 1}
        assert requests.get(f"{server.base_url}/v1/users", timeout=60).status_code == 401
        assert requests.get(f"{server.base_url}/v1/nothing", headers=header, timeout=60).status_code == 404
    with pytest.raises(requests.ConnectionError):
        requests.get(server.base_url, timeout=60)
