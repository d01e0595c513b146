"""Errors as a person sees them in the UI."""

import pytest
from dagster import Failure

from messaging_assets.api.errors import AuthenticationError, ConfigurationError, UnreachableError
from messaging_assets.orchestration.failures import explained

pytestmark = pytest.mark.dagster


def test_an_error_of_the_package_is_shown_with_place_and_remedy() -> None:
    with pytest.raises(Failure) as caught, explained("syncing users of messaging"):
        raise UnreachableError("no answer", where="http://api", remedy="check the address")
    assert caught.value.description == "no answer (http://api). To do: check the address"
    told = {name: value.value for name, value in caught.value.metadata.items()}
    assert told == {"error": "UnreachableError", "where": "http://api", "to do": "check the address"}
    assert caught.value.allow_retries
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("error", [ConfigurationError(["a: wrong"]), AuthenticationError("refused")])
def test_what_only_a_person_can_mend_is_not_tried_again(error: Exception) -> None:
    with pytest.raises(Failure) as caught, explained("syncing"):
        raise error
    assert not caught.value.allow_retries


def test_the_text_of_a_foreign_error_is_not_shown_but_its_place_is() -> None:
    with pytest.raises(Failure) as caught, explained("syncing users of messaging"):
        raise ValueError("could not convert 'dear Ann, the password is'")
    shown = f"{caught.value.description} {caught.value.metadata}"
    assert "password" not in shown
    assert "builtins.ValueError" in shown
    assert "test_failures.py" in shown
    assert caught.value.__suppress_context__


def test_a_failure_is_left_alone() -> None:
    with pytest.raises(Failure, match="as it is"), explained("syncing"):
        raise Failure("as it is")
