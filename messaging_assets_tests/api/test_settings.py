"""Settings: where they are looked up, where they are not, and what is said when they are missing."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import dlt
import pytest

from messaging_assets.api import settings
from messaging_assets.api.connection import (
    Connection,
    connection_from_dict,
    read_connection,
    read_connections,
)
from messaging_assets.api.errors import ConfigurationError
from messaging_assets.api.settings import SandboxAddress, configured_client
from messaging_assets_tests.conftest import Project

ADDRESS = "https://api.example.com/v2"
SANDBOX = SandboxAddress("http://127.0.0.1:8123", "sandbox-id", "sandbox-secret")


@pytest.fixture
def messaging(project: Project) -> Connection:
    return read_connections()[0]


@pytest.fixture
def configured(project: Project) -> Project:
    project.config(f'[sources.messaging]\nbase_url = "{ADDRESS}"\n')
    project.secrets('[sources.messaging]\nclient_id = "an-id"\nclient_secret = "0123"\n')
    return project


def connection(project: Project, text: str, name: str = "messaging") -> Connection:
    return read_connection(project.write(f"{name}.yaml", text))


def missing(wanted: Connection) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        configured_client(wanted)
    return caught.value.mistakes


# ---- the address ---------------------------------------------------------------------------------


def test_without_a_setting_there_is_no_address(project: Project) -> None:
    assert settings.base_url("messaging") is None


@pytest.mark.parametrize(
    "name", ["BASE_URL", "SOURCES__BASE_URL", "MESSAGING__BASE_URL", "SOURCES__OTHER__BASE_URL"]
)
def test_the_address_is_looked_up_in_one_place(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "https://stray.example.com")
    project.config(
        'base_url = "https://stray.example.com"\n[sources]\nbase_url = "https://stray.example.com"\n'
    )
    assert settings.base_url("messaging") is None


def test_the_environment_comes_before_the_files(configured: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.base_url("messaging") == ADDRESS
    monkeypatch.setenv("SOURCES__MESSAGING__BASE_URL", " https://other.example.com/ ")
    assert settings.base_url("messaging") == "https://other.example.com"
    monkeypatch.setenv("SOURCES__MESSAGING__BASE_URL", "")
    assert settings.base_url("messaging") is None


@pytest.mark.parametrize(
    "address",
    [
        "api.example.com",
        "ftp://x",
        "http://",
        "https://me:geheim@x",
        "https://x?token=geheim",
        "https://x:99999",
    ],
)
def test_an_address_is_a_plain_url(project: Project, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("SOURCES__MESSAGING__BASE_URL", address)
    with pytest.raises(ConfigurationError, match=r"sources\.messaging\.base_url has to be a URL") as caught:
        settings.base_url("messaging")
    assert "geheim" not in str(caught.value)


# ---- filling in ----------------------------------------------------------------------------------


def test_the_guide_is_filled_in(configured: Project, messaging: Connection) -> None:
    guide = configured_client(messaging)
    assert guide["client"]["base_url"] == ADDRESS
    assert guide["client"]["auth"] == {
        "type": "oauth2",
        "client_id": "an-id",
        "client_secret": "0123",
        "token_url": f"{ADDRESS}/oauth/token",
    }
    assert [resource["name"] for resource in guide["resources"]] == ["users", "channels", "messages"]
    assert connection_from_dict("rest_api", guide).resource("users").error_handler.max_retries == 3
    assert "${secret:client_id}" in str(messaging.client)


def test_a_secret_arrives_letter_by_letter(
    configured: Project, messaging: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    for secret in ("0123", "1e5", "true", '{"a": 1}', " with spaces ", "ünïcode"):
        monkeypatch.setenv("SOURCES__MESSAGING__CLIENT_SECRET", secret)
        assert configured_client(messaging)["client"]["auth"]["client_secret"] == secret
    configured.secrets('[sources.messaging]\nclient_id = 42\nclient_secret = "x"')
    assert configured_client(messaging)["client"]["auth"]["client_id"] == "42"


def test_a_secret_that_is_not_a_text_is_refused(configured: Project, messaging: Connection) -> None:
    configured.secrets("[sources.messaging]\nclient_id = 1.50\nclient_secret = true")
    names = [mistake.split()[0] for mistake in missing(messaging)]
    assert names == ["sources.messaging.client_id", "sources.messaging.client_secret"]


def test_all_missing_settings_are_named_at_once(project: Project, messaging: Connection) -> None:
    found = missing(messaging)
    assert len(found) == 3
    for name, file in (("base_url", "config"), ("client_id", "secrets"), ("client_secret", "secrets")):
        line = next(line for line in found if line.startswith(f"sources.messaging.{name} "))
        assert f"SOURCES__MESSAGING__{name.upper()}" in line
        assert f".dlt/{file}.toml" in line
        assert f"{name} = " in line
        assert "[sources.messaging]" in line


def test_a_secret_in_the_wrong_file_is_not_used_but_pointed_at(
    project: Project, messaging: Connection
) -> None:
    project.config(
        f'[sources.messaging]\nbase_url = "{ADDRESS}"\nclient_id = "geheim"\nclient_secret = "geheim"\n'
    )
    found = missing(messaging)
    assert len(found) == 2
    assert all("move it" in mistake and "geheim" not in mistake for mistake in found)


def test_the_guides_bare_names_count_for_messaging_alone(
    project: Project, messaging: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIENT_ID", "bare-id")
    monkeypatch.setenv("CLIENT_SECRET", "bare-secret")
    monkeypatch.setenv("TOKEN", "bare-token")
    for name in ("MESSAGING", "OTHER"):
        monkeypatch.setenv(f"SOURCES__{name}__BASE_URL", ADDRESS)
    auth = configured_client(messaging)["client"]["auth"]
    assert (auth["client_id"], auth["client_secret"]) == ("bare-id", "bare-secret")
    monkeypatch.setenv("SOURCES__MESSAGING__CLIENT_ID", "own-id")
    assert configured_client(messaging)["client"]["auth"]["client_id"] == "own-id"
    other = connection(project, "client: {auth: oauth2}\nresources: [users]", "other")
    assert len(missing(other)) == 2
    token = connection(project, "client: {auth: {type: bearer}}\nresources: [users]")
    assert len(missing(token)) == 1


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        (
            "oauth2",
            {"type": "oauth2", "client_id": "i", "client_secret": "s", "token_url": f"{ADDRESS}/oauth/token"},
        ),
        (
            "{type: oauth2, token_url: login/token, scope: read}",
            {
                "type": "oauth2",
                "client_id": "i",
                "client_secret": "s",
                "token_url": f"{ADDRESS}/login/token",
                "scope": "read",
            },
        ),
        (
            "{type: oauth2_client_credentials, access_token_url: 'https://login.example.com/t'}",
            {
                "type": "oauth2_client_credentials",
                "client_id": "i",
                "client_secret": "s",
                "access_token_url": "https://login.example.com/t",
            },
        ),
        ("bearer", {"type": "bearer", "token": "t"}),
        ('{token: "${secret:other}"}', {"type": "bearer", "token": "o"}),
        ("api_key", {"type": "api_key", "api_key": "k"}),
        ("{type: http_basic, username: me}", {"type": "http_basic", "username": "me", "password": "p"}),
        ("null", None),
    ],
)
def test_what_an_auth_does_not_say_is_a_setting(
    project: Project, monkeypatch: pytest.MonkeyPatch, auth: str, expected: Any
) -> None:
    monkeypatch.setenv("SOURCES__MESSAGING__BASE_URL", ADDRESS)
    values = {
        "client_id": "i",
        "client_secret": "s",
        "token": "t",
        "api_key": "k",
        "password": "p",
        "other": "o",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"SOURCES__MESSAGING__{name.upper()}", value)
    wanted = connection(
        project, f"client: {{auth: {auth}}}\nresources: [{{name: users, endpoint: {{auth: {auth}}}}}]"
    )
    guide = configured_client(wanted)
    assert guide["client"].get("auth") == expected
    assert guide["resources"][0]["endpoint"]["auth"] == expected
    connection_from_dict("rest_api", guide)


def test_settings_come_before_the_file(configured: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "client: {auth: oauth2, proxy: 'http://old:1', ca_bundle: old.pem}\nresources: [users]"
    wanted = connection(configured, text)
    client = configured_client(wanted)["client"]
    assert client["proxy"] == "http://old:1"
    assert client["ca_bundle"] == str(configured.path / "old.pem")
    monkeypatch.setenv("SOURCES__MESSAGING__PROXY", "http://new:2")
    monkeypatch.setenv("SOURCES__MESSAGING__CA_BUNDLE", "/etc/new.pem")
    monkeypatch.setenv("SOURCES__MESSAGING__TOKEN_URL", "https://login.example.com/token")
    client = configured_client(wanted)["client"]
    assert client["proxy"] == "http://new:2"
    assert client["ca_bundle"] == "/etc/new.pem"
    assert client["auth"]["token_url"] == "https://login.example.com/token"


REFERENCES = """
client: {headers: {Authorization: "Bearer ${secret:token}"}, auth: null}
resource_defaults: {endpoint: {headers: {X-Team: "${secret:team}"}}}
resources:
  - {name: users, endpoint: {params: {api_key: "${secret:token}"}}}
"""


def test_references_are_replaced_everywhere(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCES__MESSAGING__BASE_URL", ADDRESS)
    monkeypatch.setenv("SOURCES__MESSAGING__TOKEN", "a{b}c")
    monkeypatch.setenv("SOURCES__MESSAGING__TEAM", "t1")
    guide = configured_client(connection(project, REFERENCES))
    assert guide["client"]["headers"]["Authorization"] == "Bearer a{b}c"
    assert guide["resource_defaults"]["endpoint"]["headers"]["X-Team"] == "t1"
    # dlt formats parameters: doubled braces arrive as single ones.
    assert guide["resources"][0]["endpoint"]["params"]["api_key"].format() == "a{b}c"


def test_the_sandbox_gets_nothing_of_the_users(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "BASE_URL",
        "CLIENT_ID",
        "CLIENT_SECRET",
        "TOKEN",
        "TEAM",
        "PROXY",
        "CA_BUNDLE",
        "TOKEN_URL",
    ):
        monkeypatch.setenv(f"SOURCES__MESSAGING__{name}", "https://geheim")
    text = REFERENCES.replace("auth: null", "proxy: 'http://old:1', timeouts: {read: 5}")
    guide = configured_client(connection(project, text), sandbox=SANDBOX)
    assert "geheim" not in str(guide)
    assert guide["client"]["base_url"] == SANDBOX.base_url
    assert guide["client"]["timeouts"] == {"read": 5}
    assert "proxy" not in guide["client"]
    assert guide["client"]["auth"] == {
        "type": "oauth2",
        "client_id": "sandbox-id",
        "client_secret": "sandbox-secret",
        "token_url": "http://127.0.0.1:8123/oauth/token",
    }
    assert "sandbox-secret" not in repr(SANDBOX)


def test_a_broken_file_is_a_mistake_that_names_it(project: Project, messaging: Connection) -> None:
    project.write(".dlt/secrets.toml", "[sources.messaging]\nclient_id = geheim\n")
    code = "from messaging_assets.api.settings import base_url; base_url('messaging')"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ConfigurationError" in ended.stderr
    assert ".dlt/secrets.toml is not TOML" in ended.stderr.splitlines()[-1]
    assert "geheim" not in ended.stderr


# ---- paths and numbers ---------------------------------------------------------------------------


def test_the_warehouse_has_its_place_in_the_project(project: Project) -> None:
    folder = project.path / ".warehouse"
    assert settings.warehouse_database("messaging", sandbox=False) == folder / "messaging.duckdb"
    assert settings.warehouse_database("messaging", sandbox=True) == folder / "sandbox.duckdb"


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        ("/data/x.duckdb", "/data/x.duckdb"),
        ("data/x.duckdb", "{project}/data/x.duckdb"),
        ("duckdb:///data/x.duckdb", "{project}/data/x.duckdb"),
        ("duckdb:////data/x.duckdb", "/data/x.duckdb"),
        ("duckdb:////data/x.duckdb?access_mode=READ_WRITE", "/data/x.duckdb"),
        ('{"database": "/data/x.duckdb"}', "/data/x.duckdb"),
        ("~/x.duckdb", "{project}/home/x.duckdb"),
    ],
)
def test_the_configured_warehouse_is_used(
    project: Project, monkeypatch: pytest.MonkeyPatch, configured: str, expected: str
) -> None:
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", configured)
    wanted = Path(expected.format(project=project.path))
    assert settings.warehouse_database("messaging", sandbox=False) == wanted
    assert (
        settings.warehouse_database("messaging", sandbox=True)
        == project.path / ".warehouse" / "sandbox.duckdb"
    )


def test_the_configured_warehouse_may_stand_in_toml(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.config('[destination.duckdb]\ncredentials = "a.duckdb"')
    assert settings.warehouse_database("messaging", sandbox=False) == project.path / "a.duckdb"
    project.config('[destination.duckdb.credentials]\ndatabase = "b.duckdb"')
    assert settings.warehouse_database("messaging", sandbox=False) == project.path / "b.duckdb"
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS__DATABASE", "c.duckdb")
    assert settings.warehouse_database("messaging", sandbox=False) == project.path / "c.duckdb"


@pytest.mark.parametrize(
    "configured",
    [
        ":memory:",
        ":pipeline:",
        "duckdb:///:memory:",
        "duckdb://",
        "md:mine?motherduck_token=geheim",
        "duckdb:///md:mine?token=geheim",
        "s3://bucket/x.duckdb",
        "postgres://me:geheim@host/db",
        ".",
        ".warehouse/sandbox.duckdb",
    ],
)
def test_only_a_file_can_be_the_warehouse(
    project: Project, monkeypatch: pytest.MonkeyPatch, configured: str
) -> None:
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS", configured)
    with pytest.raises(ConfigurationError, match=r"destination\.duckdb\.credentials") as caught:
        settings.warehouse_database("messaging", sandbox=False)
    assert "geheim" not in str(caught.value)


def test_the_folder_of_connections(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (settings.connections_folder() / "messaging.yaml").is_file()
    project.config('[messaging]\nconnections = "mine"')
    assert settings.connections_folder() == project.path / "mine"
    monkeypatch.setenv("MESSAGING__CONNECTIONS", "/elsewhere")
    assert settings.connections_folder() == Path("/elsewhere")


def test_the_lock_timeout(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.lock_timeout() == 60.0
    project.config("[messaging]\nlock_timeout_seconds = 2.5")
    assert settings.lock_timeout() == 2.5
    for wrong in ("soon", "-1", "nan", "inf"):
        monkeypatch.setenv("MESSAGING__LOCK_TIMEOUT_SECONDS", wrong)
        with pytest.raises(ConfigurationError, match="lock_timeout_seconds"):
            settings.lock_timeout()


# ---- defaults ------------------------------------------------------------------------------------


def test_the_defaults_are_below_what_a_user_configures(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.register_defaults()
    settings.register_defaults()
    names = [provider.name for provider in dlt.config.config_providers]
    assert names.count(settings.DEFAULTS_NAME) == 1
    runtime = dlt.current.run_context().runtime_config
    assert runtime.dlthub_telemetry is False
    assert runtime.log_level == "CRITICAL"
    assert dlt.config.get("load.raise_on_max_retries", int) == 1
    assert dlt.config.get("normalize.parquet_normalizer.add_dlt_load_id", bool) is False
    monkeypatch.setenv("LOAD__RAISE_ON_MAX_RETRIES", "7")
    assert dlt.config.get("load.raise_on_max_retries", int) == 7


def test_telemetry_is_off_after_the_defaults(project: Project) -> None:
    code = """
from dlt.common.runtime import anon_tracker
import dlt
dlt.current.run_context().initialize_runtime()
from messaging_assets.api.settings import register_defaults
assert anon_tracker._ANON_TRACKER_ENDPOINT is not None
register_defaults()
assert anon_tracker._ANON_TRACKER_ENDPOINT is None
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", code], cwd=project.path, env=environment, check=True, timeout=60)


def test_importing_has_no_effect(project: Project) -> None:
    code = "import messaging_assets.api.settings, messaging_assets.api.connection, dlt; \
            print([provider.name for provider in dlt.config.config_providers])"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert settings.DEFAULTS_NAME not in ended.stdout
    assert sorted(path.name for path in project.path.iterdir()) == ["home"]
