"""The budget of one host by itself: when the next request may start, by a clock that the test moves."""

import math
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from requests.structures import CaseInsensitiveDict

from messaging_assets.api.rate import LOWEST_RATE, Allowance, RateBudget, allowance_of

NOW = datetime(2026, 7, 1, tzinfo=UTC)


class Time:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def time() -> Time:
    return Time()


def ask(budget: RateBudget, time: Time, answer: Callable[[RateBudget, float], None] | None = None) -> float:
    """Start a request as soon as it may, let it be answered at once, and return when it started."""
    while (wait := budget.pause().seconds) > 0:
        time.seconds += wait
    started = time.seconds
    budget.start()
    budget.end()
    if answer is not None:
        answer(budget, started)
    return started


def success(budget: RateBudget, _: float) -> None:
    budget.note_success()


def refusal(budget: RateBudget, started: float) -> None:
    budget.note_refusal(started)


# --- the configured rate


@pytest.mark.parametrize("rate", [0.25, 3, 7, 100])
def test_n_requests_at_r_a_second_take_n_by_r_seconds(time: Time, rate: float) -> None:
    budget = RateBudget(time, rate)
    first = ask(budget, time)
    for _ in range(50):
        last = ask(budget, time)
    assert last - first == pytest.approx(50 / rate)


def test_nothing_configured_and_nothing_heard_means_no_pause(time: Time) -> None:
    budget = RateBudget(time)
    for _ in range(1000):
        budget.start()
        assert budget.pause().seconds == 0
    assert budget.rate is None


def test_requests_that_start_a_little_late_keep_the_rate(time: Time) -> None:
    budget = RateBudget(time, 50)
    first = ask(budget, time)
    for _ in range(100):
        time.seconds += budget.pause().seconds + 0.004
        last = ask(budget, time)
    assert last - first == pytest.approx(100 / 50, abs=0.01)


def test_time_in_which_nobody_asked_is_not_saved_up(time: Time) -> None:
    budget = RateBudget(time, 10)
    ask(budget, time)
    time.seconds += 60
    first = ask(budget, time)
    assert ask(budget, time) - first == pytest.approx(0.1)


# --- Retry-After


def test_a_hold_keeps_everyone_until_it_is_over_and_a_shorter_one_does_not_end_it(time: Time) -> None:
    budget = RateBudget(time)
    budget.hold(30)
    budget.hold(10)
    assert budget.pause().seconds == budget.held() == 30
    assert "Retry-After" in budget.pause().why
    time.seconds += 30
    assert budget.pause().seconds == budget.held() == 0


# --- 429s


def test_a_refusal_halves_the_rate_and_successes_bring_it_back_step_by_step(time: Time) -> None:
    budget = RateBudget(time, 8)
    for _ in range(20):
        ask(budget, time, success)
    ask(budget, time, refusal)
    assert budget.rate == pytest.approx(4, rel=0.2)
    rates = [budget.rate]
    while budget.rate != 8 and len(rates) < 100:
        ask(budget, time, success)
        rates.append(budget.rate)
    assert rates[-1] == 8
    assert rates == sorted(rates, key=lambda rate: rate or 0)
    assert 30 <= len(rates) <= 50, "step by step, and to the end"


def test_without_a_configured_rate_the_measured_one_is_halved_and_at_last_no_longer_minded(
    time: Time,
) -> None:
    budget = RateBudget(time)
    for _ in range(40):
        time.seconds += 0.05
        ask(budget, time, success)
    ask(budget, time, refusal)
    assert budget.rate == pytest.approx(20 / 2, rel=0.15)
    for _ in range(60):
        ask(budget, time, success)
    assert budget.rate is None
    assert budget.pause().seconds == 0


def test_requests_that_were_under_way_together_slow_down_once(time: Time) -> None:
    budget = RateBudget(time)
    for _ in range(8):
        budget.start()
    time.seconds += 0.1
    for _ in range(8):
        budget.end()
        budget.note_refusal(100.0)
    assert budget.rate == 4


def test_refusals_in_a_row_slow_down_further_to_a_bound_and_one_success_shows_the_way_back(
    time: Time,
) -> None:
    budget = RateBudget(time)
    for _ in range(64):
        budget.start()
        budget.end()
    started = time.seconds
    rates = []
    for _ in range(12):
        budget.note_refusal(started)
        rates.append(budget.rate)
        started = ask(budget, time)
    assert rates[:4] == [32, 16, 8, 4]
    assert rates[-1] == LOWEST_RATE
    for _ in range(31):
        ask(budget, time, success)
    assert (budget.rate or 0) > 30, "a host that was closed for a while is asked as before"


def test_after_a_refusal_one_goes_ahead_and_the_others_wait_for_its_answer(time: Time) -> None:
    budget = RateBudget(time)
    ask(budget, time, refusal)
    time.seconds += 60
    budget.start()
    time.seconds += 60
    assert budget.pause().seconds == math.inf
    budget.end()
    budget.note_success()
    assert budget.pause().seconds == 0


# --- what is left


def told(remaining: int, seconds: float, limit: int | None = None) -> Callable[[RateBudget, float], None]:
    return lambda budget, _: budget.note_allowance(Allowance(remaining, seconds, limit))


def test_no_more_go_than_are_left_and_the_next_one_after_the_reset(time: Time) -> None:
    budget = RateBudget(time)
    ask(budget, time, told(2, 20))
    budget.start()
    assert budget.pause().seconds == 0
    budget.start()
    assert budget.pause().seconds == math.inf, "the two that are left are under way"
    budget.end()
    budget.note_allowance(Allowance(1, 20))
    budget.end()
    budget.note_allowance(Allowance(0, 20))
    assert budget.pause().seconds == 20
    assert "rate limit" in budget.pause().why
    time.seconds += 20
    assert budget.pause().seconds == 0


@pytest.mark.parametrize(("limit", "at_once"), [(5, 5), (None, 1)])
def test_after_the_reset_as_many_go_as_the_limit_says_or_one_that_finds_out(
    time: Time, limit: int | None, at_once: int
) -> None:
    budget = RateBudget(time)
    ask(budget, time, told(0, 10, limit))
    time.seconds += 10
    started = 0
    while budget.pause().seconds == 0:
        budget.start()
        started += 1
    assert started == at_once
    budget.end()
    budget.note_allowance(Allowance(4, 10, limit))
    assert budget.pause().seconds == (math.inf if limit else 0)


def test_answers_that_overtake_each_other_do_not_bring_requests_back(time: Time) -> None:
    budget = RateBudget(time)
    ask(budget, time, told(3, 10))
    ask(budget, time, told(1, 10))
    ask(budget, time, told(2, 11))
    budget.start()
    assert budget.pause().seconds == math.inf
    budget.end()
    ask(budget, time, told(50, 30))
    ask(budget, time, told(1, 10))
    assert budget.pause().seconds == 0
    budget.start()
    assert budget.pause().seconds == 0, "of the new period 50 are left, whatever the old one said"


def test_a_host_that_stops_talking_of_its_limit_is_not_held_to_it_for_ever(time: Time) -> None:
    budget = RateBudget(time)
    ask(budget, time, told(0, 10))
    budget.note_allowance(None)
    assert budget.pause().seconds == 10
    time.seconds += 10
    ask(budget, time, lambda budget, _: budget.note_allowance(None))
    for _ in range(20):
        budget.start()
        assert budget.pause().seconds == 0


# --- the headers


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-RateLimit-Remaining": "7", "X-RateLimit-Reset": "30"}, Allowance(7, 30)),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1.5"}, Allowance(0, 1.5)),
        ({"X-Rate-Limit-Remaining": "7", "X-Rate-Limit-Reset": "30"}, Allowance(7, 30)),
        ({"X-RateLimit-Remaining": "7", "X-RateLimit-Reset": str(NOW.timestamp() + 30)}, Allowance(7, 30)),
        (
            {"X-RateLimit-Remaining": "7", "X-RateLimit-Reset": str(NOW.timestamp() * 1000 + 30_000)},
            Allowance(7, 30),
        ),
        ({"X-RateLimit-Remaining": "7", "X-RateLimit-Reset": str(NOW.timestamp() - 9)}, Allowance(7, 0)),
        (
            {"RateLimit-Limit": "100, 100;w=60", "RateLimit-Remaining": "7", "RateLimit-Reset": "30"},
            Allowance(7, 30, 100),
        ),
        ({"X-RateLimit-Remaining": "7"}, None),
        ({"X-RateLimit-Reset": "30"}, None),
        ({"X-RateLimit-Remaining": "many", "X-RateLimit-Reset": "30"}, None),
        ({"X-RateLimit-Remaining": "-1", "X-RateLimit-Reset": "30"}, None),
        ({"X-RateLimit-Remaining": "7", "X-RateLimit-Reset": "soon"}, None),
        ({"X-Requests-Remaining": "7", "X-Requests-Reset": "30"}, None),
        ({}, None),
    ],
)
def test_headers_are_read_under_all_their_names(headers: dict[str, str], expected: Allowance | None) -> None:
    assert allowance_of(CaseInsensitiveDict(headers), now=lambda: NOW) == expected
