"""Starting and ending, in a thread and as a process."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from messaging_assets.sandbox import At, Broken, Delete, Faults, ManualClock, Sandbox, SandboxProcess
from messaging_assets_tests.sandbox.client import Client

MESSAGES = "/v1/messages"
PROJECT = Path(__file__).parents[2]


def test_it_starts_and_ends_at_once_and_leaves_nothing() -> None:
    before = threading.active_count()
    start = time.monotonic()
    with Sandbox() as sandbox:
        started = time.monotonic()
        with Client(sandbox) as client:
            assert len(client.page(MESSAGES)) == 100
            ending = time.monotonic()
            # A connection that is kept alive does not keep the server alive.
            sandbox.stop()
    ended = time.monotonic()
    assert started - start < 0.5
    assert ended - ending < 0.5
    assert threading.active_count() == before
    with pytest.raises(requests.ConnectionError):
        requests.get(sandbox.base_url, timeout=1)


def test_it_listens_on_loopback_alone_on_a_free_port() -> None:
    with Sandbox() as first, Sandbox() as second:
        assert first.base_url != second.base_url
        assert first.base_url.startswith("http://127.0.0.1:")
        assert first.client_secret != second.client_secret
        port = int(first.base_url.rpartition(":")[2])
        with socket.socket() as other:
            other.settimeout(1)
            assert other.connect_ex(("127.0.0.2", port)) != 0


def test_it_can_go_away_and_come_back_with_its_rows() -> None:
    sandbox = Sandbox(messages=5)
    with pytest.raises(RuntimeError, match="no address"):
        _ = sandbox.base_url
    with sandbox, Client(sandbox) as client:
        identity = sandbox.insert("messages")
        address = sandbox.base_url
        sandbox.stop()
        sandbox.stop()
        with pytest.raises(requests.ConnectionError):
            client.get(MESSAGES)
        sandbox.start()
        sandbox.start()
        assert sandbox.base_url == address
        assert client.ids(MESSAGES)[-1] == identity


def test_a_port_in_use_is_an_error() -> None:
    with Sandbox() as sandbox:
        port = int(sandbox.base_url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            Sandbox(port=port).start()


def test_a_clock_makes_it_grow() -> None:
    clock = ManualClock()
    with Sandbox(messages=10, growth_per_hour=60, clock=clock) as sandbox, Client(sandbox) as client:
        assert client.get(MESSAGES).json()["total"] == 10
        clock.advance(hours=0.5)
        assert client.get(MESSAGES).json()["total"] == 40
        assert client.all_ids(MESSAGES, limit=7) == sandbox.ids("messages")


def test_a_living_sandbox_is_fresh_and_never_ahead_of_the_clock() -> None:
    sandbox = Sandbox.living(users=10)
    now = datetime.now(UTC)
    newest = max(datetime.fromisoformat(row["updated_at"]) for row in sandbox.rows("messages"))
    assert timedelta(0) <= now - newest < timedelta(hours=1)
    assert len(sandbox.ids("messages")) >= 2000


def test_the_servers_logs_are_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    faults = Faults(broken=[Broken("cut")])
    # In a process of its own, where nothing catches what would be logged.
    with (
        SandboxProcess(faults=faults) as sandbox,
        Client(sandbox) as client,
        pytest.raises(requests.exceptions.ChunkedEncodingError),
    ):
        client.get(MESSAGES)
    output = capfd.readouterr()
    assert output.out + output.err == ""


def test_requests_in_flight_are_counted() -> None:
    with Sandbox(faults=Faults(latency=0.1)) as sandbox, Client(sandbox) as client:
        threads = [threading.Thread(target=client.get, args=(MESSAGES,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sandbox.most_in_flight == 4


# As a process


def test_a_process_serves_the_same_and_takes_the_same_orders() -> None:
    with SandboxProcess(messages=50, faults=Faults(page_cap=10)) as sandbox, Client(sandbox) as client:
        assert sandbox.pid != os.getpid()
        assert sandbox.rows("messages") == Sandbox(messages=50).rows("messages")
        assert len(client.page(MESSAGES)) == 10
        sandbox.order(script=[At(1, Delete(count=4))])
        assert client.ids(MESSAGES) == sandbox.ids("messages")
        identity = sandbox.insert("messages", "head", text="new")
        sandbox.edit("messages", identity, text="newer")
        sandbox.move("messages", identity, "tail")
        sandbox.raw_row("messages", [1])
        sandbox.raw_text("messages", "2")
        sandbox.delete("messages", "M000000010")
        sandbox.restore("messages", "M000000010")
        sandbox.replace("messages", "M000000011", {"id": "other"})
        sandbox.add_resource("emoji", [{"id": 1}])
        assert client.page(MESSAGES) == sandbox.rows("messages")
        assert sandbox.rows("messages")[-3]["text"] == "newer"
        assert sandbox.ids("emoji") == [1]
        assert (sandbox.token_requests, sandbox.count(MESSAGES), sandbox.most_in_flight) == (1, 3, 1)
        assert sandbox.requests[-1].path == MESSAGES
        with pytest.raises(KeyError):
            sandbox.delete("messages", "nobody")
        sandbox.revoke_tokens()
        assert client.get(MESSAGES).status_code == 401
        sandbox.reset_counters()
        assert sandbox.requests == []
        ending = time.monotonic()
    assert time.monotonic() - ending < 2
    with pytest.raises(requests.ConnectionError):
        requests.get(sandbox.base_url, timeout=1)
    with pytest.raises(RuntimeError, match="not running"):
        sandbox.count()


def test_settings_of_a_process_that_are_wrong_are_an_error() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"), SandboxProcess(nonsense=1):
        pass
    with pytest.raises(TypeError, match="can't be handed"), SandboxProcess(clock=ManualClock()):
        pass


def test_a_process_ends_with_a_parent_that_is_killed() -> None:
    program = (
        "import time\n"
        "from messaging_assets.sandbox import SandboxProcess\n"
        "sandbox = SandboxProcess().start()\n"
        "print(sandbox.pid, sandbox.base_url, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=PROJECT
    ) as parent:
        assert parent.stdout is not None
        child, address = parent.stdout.readline().split()
        assert requests.get(address, timeout=5).status_code == 200
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while _alive(int(child)):
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.01)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")
    # Nobody may be there to collect the orphan: a zombie has ended.
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")
