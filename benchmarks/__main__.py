"""The command: `python -m benchmarks --help`, or `make benchmark`."""

import os
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.bench import Bench
from benchmarks.processes import ContenderError
from benchmarks.report import write_results
from benchmarks.scenarios import SCENARIOS

RESULTS = Path(__file__).parent / "results"


@click.command()
@click.argument("scenarios", nargs=-1, type=click.Choice(list(SCENARIOS)))
@click.option(
    "--runs", default=3, show_default=True, type=click.IntRange(min=1), help="Runs of each contender."
)
@click.option("--quick", is_flag=True, help="Small sizes, to see that everything works.")
@click.option("--large", is_flag=True, help="Measure the growth up to five million messages.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Where to write results.json, results.md and results.svg; default: {RESULTS.name} beside this "
    "package, or nowhere for a quick run.",
)
def main(scenarios: tuple[str, ...], runs: int, quick: bool, large: bool, output: Path | None) -> None:
    """Measure the platform against a hand-written script and plain dlt, and print what it reaches.

    All SCENARIOS by default, which takes a quarter of an hour. Do nothing else on the machine meanwhile.
    """
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        with Bench(Path(folder), runs=runs, quick=quick, large=large, tell=click.echo) as bench:
            failed = [name for name in scenarios or SCENARIOS if not _measured(bench, name)]
        kept = output or (Path(folder) / "results" if quick else RESULTS)
        click.echo(write_results(kept, bench.measurements, bench.targets, quick=quick, runs=runs, load=load))
    if failed:
        click.secho(f"not measured: {', '.join(failed)}", fg="red", err=True)
        sys.exit(1)


def _measured(bench: Bench, name: str) -> bool:
    click.echo(f"{name}: {(SCENARIOS[name].__doc__ or '').splitlines()[0]}")
    try:
        SCENARIOS[name](bench)
    except ContenderError as error:
        click.secho(f"    {error}", fg="red", err=True)
        return False
    return True


if __name__ == "__main__":
    main()
