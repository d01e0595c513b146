"""A sweep that goes on where an earlier one stopped misses nothing either, and proves less."""

import dataclasses
import json
from random import Random
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from messaging_assets.api.digests import key_digest
from messaging_assets.api.row_index import RowIndex
from messaging_assets.api.sweep import Checkpoint, Sweep
from messaging_assets_tests.api.listing import Listing, Ordering
from messaging_assets_tests.api.test_sweep import ORDERINGS, verified


@dataclasses.dataclass
class Stopped:
    """A sweep that was cut off: what it had delivered, and the checkpoint as it is written to a file."""

    delivered: list[dict[str, Any]]
    contents: list[int]
    checkpoint: Checkpoint | None

    def resume(self, listing: Listing) -> Sweep:
        index = RowIndex()
        index.begin_pass()
        index.record([key_digest(row, ["id"]) or 0 for row in self.delivered], self.contents)
        return Sweep(listing, index, resume_from=self.checkpoint)


def stopped_after(listing: Listing, pages: int) -> Stopped:
    """Reads so many pages, or the whole list if it has fewer."""
    sweep = Sweep(listing, RowIndex())
    stopped = Stopped([], [], None)
    for number, delivery in enumerate(sweep, start=1):
        if sweep.progress.passes > 1:
            break
        stopped.delivered += delivery.seen
        stopped.contents += delivery.seen_contents.tolist()
        if number == pages:
            break
    saved = sweep.checkpoint()
    stopped.checkpoint = saved and Checkpoint(**json.loads(json.dumps(dataclasses.asdict(saved))))
    return stopped


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**9),
    ordering=st.sampled_from(ORDERINGS),
    pages=st.integers(1, 20),
    cap=st.sampled_from([None, 40]),
    reports_total=st.booleans(),
    restlessness=st.sampled_from([0.0, 0.2]),
)
def test_a_resumed_sweep_never_says_full_of_a_list_of_which_it_missed_a_row(
    seed: int, ordering: Ordering, pages: int, cap: int | None, reports_total: bool, restlessness: float
) -> None:
    listing = Listing(
        Random(seed),
        700,
        100,
        ordering,
        cap=cap,
        reports_total=reports_total,
        restlessness=restlessness,
        in_flight=3,
    )
    stopped = stopped_after(listing, pages)
    assume(stopped.checkpoint is not None)
    assert stopped.checkpoint is not None
    alive = set(listing.alive)
    listing.asked.clear()
    sweep = stopped.resume(listing)
    delivered = stopped.delivered + [record for delivery in sweep for record in delivery.records]
    assert sweep.progress.resumed == len({row["id"] for row in stopped.delivered})
    assert listing.asked[0] == stopped.checkpoint.anchor > 0
    if verified(sweep) == "full":
        assert alive & listing.alive <= {row["id"] for row in delivered}
    if ordering == "ascending" and not restlessness:
        assert (verified(sweep), sweep.progress.passes) == ("full", 1)


def test_a_resumed_pass_is_not_proved_by_its_count() -> None:
    """Between the runs rows can have come and gone so that the total is the same again."""
    listing = Listing(Random(1), 300, 100, "none")
    sweep = stopped_after(listing, 1).resume(listing)
    assert sum(len(delivery.records) for delivery in sweep) == 200
    assert (verified(sweep), sweep.progress.passes) == ("full", 2)


@pytest.mark.parametrize("gone", [1, 150])
def test_what_is_deleted_between_the_runs_moves_the_anchor_and_nothing_is_missed(gone: int) -> None:
    listing = Listing(Random(1), 700, 100)
    stopped = stopped_after(listing, 4)
    del listing.list[50 : 50 + gone]
    sweep = stopped.resume(listing)
    delivered = {row["id"] for row in stopped.delivered} | {
        record["id"] for delivery in sweep for record in delivery.records
    }
    assert set(listing.ids) <= delivered
    assert (verified(sweep), sweep.progress.passes) == ("full", 1)
    assert sweep.progress.drift_repaired >= 1


def test_a_sweep_that_had_ended_is_resumed_at_its_end() -> None:
    listing = Listing(Random(1), 700, 100)
    stopped = stopped_after(listing, 100)
    listing.asked.clear()
    sweep = stopped.resume(listing)
    assert [record for delivery in sweep for record in delivery.records] == []
    assert verified(sweep) == "full"
    assert len(listing.asked) <= 2


def test_a_second_pass_leaves_the_checkpoint_of_the_first() -> None:
    listing = Listing(Random(1), 300, 100, "none", reports_total=False)
    sweep = Sweep(listing, RowIndex())
    checkpoints = [(sweep.progress.passes, sweep.checkpoint()) for _ in sweep]
    at_end_of_first = [checkpoint for passes, checkpoint in checkpoints if passes == 1][-1]
    assert {passes for passes, _ in checkpoints} == {1, 2}
    assert all(checkpoint == at_end_of_first for passes, checkpoint in checkpoints if passes == 2)


def test_before_its_first_page_there_is_nothing_to_go_on_from() -> None:
    assert Sweep(Listing(Random(1), 10, 100), RowIndex()).checkpoint() is None
