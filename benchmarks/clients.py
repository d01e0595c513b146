"""HTTP clients compared: pages of messages, eight requests in flight, parsed by orjson, then dropped.

Run by `scenarios`, one client a process. It prints the seconds of wall-clock and processor time from the
first request to the last answer, so that no import counts.
"""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import orjson

LIMIT, IN_FLIGHT = 100, 8
# What asks for an address with a header and returns the body of the answer.
Get = Callable[[str, dict[str, str]], bytes]


def main(client: str, url: str, client_id: str, client_secret: str, pages: str) -> dict[str, float]:
    """Reads so many pages by a client.

    Returns:
        What it took, and how many rows there were.
    """
    addresses = [f"{url}/v1/messages?limit={LIMIT}&offset={LIMIT * page}" for page in range(int(pages))]
    header = {"Authorization": f"Bearer {_token(url, client_id, client_secret)}"}
    read = _aiohttp if client == "aiohttp" else _in_threads(_THREADED[client]())
    began, busy = time.monotonic(), time.process_time()
    rows = read(addresses, header)
    return {"seconds": time.monotonic() - began, "cpu_seconds": time.process_time() - busy, "rows": rows}


def _token(url: str, client_id: str, client_secret: str) -> str:
    import requests

    form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
    answer = requests.post(f"{url}/oauth/token", data=form, timeout=60).json()
    return str(answer["access_token"])


def _rows(body: bytes) -> int:
    return len(orjson.loads(body)["data"])


def _aiohttp(addresses: list[str], header: dict[str, str]) -> int:
    import aiohttp

    async def read() -> int:
        left = iter(addresses)
        async with aiohttp.ClientSession(headers=header) as session:

            async def work() -> int:
                rows = 0
                for address in left:
                    async with session.get(address) as response:
                        rows += _rows(await response.read())
                return rows

            return sum(await asyncio.gather(*(work() for _ in range(IN_FLIGHT))))

    return asyncio.run(read())


def _in_threads(get: Get) -> Callable[[list[str], dict[str, str]], int]:
    def read(addresses: list[str], header: dict[str, str]) -> int:
        left, lock = iter(addresses), threading.Lock()

        def work() -> int:
            return sum(_rows(get(address, header)) for address in _shared(left, lock))

        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            return sum(future.result() for future in [pool.submit(work) for _ in range(IN_FLIGHT)])

    return read


def _shared(values: Iterator[str], lock: threading.Lock) -> Iterator[str]:
    while True:
        with lock:
            value = next(values, None)
        if value is None:
            return
        yield value


def _urllib3() -> Get:
    import urllib3

    pool = urllib3.PoolManager(maxsize=IN_FLIGHT)
    return lambda address, header: pool.request("GET", address, headers=header).data


def _requests() -> Get:
    import requests

    local = threading.local()

    def get(address: str, header: dict[str, str]) -> bytes:
        if not hasattr(local, "session"):
            local.session = requests.Session()
        content: bytes = local.session.get(address, headers=header, timeout=60).content
        return content

    return get


def _dlt() -> Get:
    from dlt.sources.helpers.requests import Client

    # A client of dlt's has a session for each thread.
    client = Client()
    return lambda address, header: bytes(client.get(address, headers=header).content)


_THREADED: dict[str, Callable[[], Get]] = {"urllib3": _urllib3, "requests": _requests, "dlt's session": _dlt}
CLIENTS = ("aiohttp", *_THREADED)


if __name__ == "__main__":
    print(orjson.dumps(main(*sys.argv[1:])).decode())
