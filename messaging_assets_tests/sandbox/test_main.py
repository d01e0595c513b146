"""The command line, as a user meets it."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from messaging_assets.sandbox.__main__ import main
from messaging_assets.sandbox.faults import KINDS, scalar_faults

PROJECT = Path(__file__).parents[2]


@contextmanager
def _serving(*options: str) -> Iterator[tuple[str, str]]:
    """Run the command; give the address and the secret that it prints."""
    with subprocess.Popen(
        [sys.executable, "-m", "messaging_assets.sandbox", *options],
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    ) as process:
        try:
            assert process.stdout is not None
            printed = ""
            while "/oauth/token\n" not in printed:
                line = process.stdout.readline()
                assert line, printed
                printed += line
            found = re.search(r"BASE_URL=(\S+)\n.*CLIENT_ID=sandbox\n.*CLIENT_SECRET=(\S+)\n", printed)
            assert found, printed
            yield found[1], found[2]
            process.send_signal(signal.SIGINT)
            assert process.wait(5) == 0
        finally:
            process.kill()


def test_it_serves_what_it_prints_until_ctrl_c(tmp_path: Path) -> None:
    file = tmp_path / "emoji.json"
    file.write_text(json.dumps([{"id": 1, "name": "tada"}]))
    options = (
        "--page-cap",
        "5",
        "--total",
        "absent",
        "--resource",
        f"emoji={file}",
        "--growth-per-hour",
        "0",
    )
    faults = ("--fault", "503,times=1,resource=users", "--at", "2,delete,messages,count=1990")
    with _serving(*options, *faults) as (address, secret):
        form = {"grant_type": "client_credentials", "client_id": "sandbox", "client_secret": secret}
        token = requests.post(f"{address}/oauth/token", data=form, timeout=5).json()["access_token"]
        headers = {"authorization": f"Bearer {token}"}
        pages = [
            requests.get(f"{address}/v1/{path}", headers=headers, timeout=5)
            for path in ("users", "users", "messages", "messages?offset=8", "emoji")
        ]
    assert [page.status_code for page in pages] == [503, 200, 200, 200, 200]
    assert [len(page.json().get("data", ())) for page in pages] == [0, 5, 5, 2, 1]
    assert pages[1].json().keys() == {"data"}


def test_help_names_every_fault() -> None:
    text = CliRunner().invoke(main, ["--help"]).output
    for name, *_ in scalar_faults():
        assert f"--{name.replace('_', '-')} " in text
    assert all(re.search(rf"^  {kind} ", text, re.MULTILINE) for kind in KINDS)
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--fault", "teapot"], "'teapot' is none of status, hang"),
        (["--at", "3,delete,messages,what=5"], "'what' is none of resource, count, where"),
        (["--resource", "emoji"], "is not of the form NAME=FILE"),
        (["--resource", "emoji=/nowhere.json"], "No such file"),
        (["--order", "backwards"], "'backwards' is not one of"),
        (["--port", "1", "--host", "203.0.113.1"], "can't listen on 203.0.113.1:1"),
    ],
)
def test_mistakes_are_named(options: list[str], message: str) -> None:
    result = CliRunner().invoke(main, options)
    assert result.exit_code != 0
    assert message in result.output
