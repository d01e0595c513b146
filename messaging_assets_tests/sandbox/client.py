"""A client of the sandbox for its own tests: real HTTP by requests, a token by the sandbox's own rules."""

from types import TracebackType
from typing import Any

import requests

from messaging_assets.sandbox import Sandbox, SandboxProcess


class Client:
    """Asks one sandbox, with a token, without retries."""

    def __init__(self, sandbox: Sandbox | SandboxProcess, *, authorised: bool = True) -> None:
        self.sandbox = sandbox
        self.session = requests.Session()
        self.session.trust_env = False
        if authorised:
            self.renew()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.session.close()

    def token(self, **fields: str) -> requests.Response:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.sandbox.client_id,
            "client_secret": self.sandbox.client_secret,
        }
        return self.session.post(
            f"{self.sandbox.base_url}/oauth/token",
            data=form | fields,
            headers={"authorization": ""},
            timeout=5,
        )

    def renew(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.token().json()
        self.session.headers["authorization"] = f"Bearer {answer['access_token']}"
        return answer

    def get(
        self, path: str, *, timeout: float = 5, redirects: bool = True, **params: Any
    ) -> requests.Response:
        url = path if path.startswith("http") else self.sandbox.base_url + path
        return self.session.get(url, params=params, timeout=timeout, allow_redirects=redirects)

    def page(self, path: str, **params: Any) -> list[Any]:
        data: list[Any] = self.get(path, **params).json()["data"]
        return data

    def ids(self, path: str, **params: Any) -> list[Any]:
        return [row["id"] for row in self.page(path, **params)]

    def all_ids(self, path: str, limit: int = 100) -> list[Any]:
        """Step by limit until an empty page, as plain clients do."""
        ids: list[Any] = []
        offset = 0
        while page := self.ids(path, limit=limit, offset=offset):
            ids += page
            offset += limit
        return ids
