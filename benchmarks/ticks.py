"""The sensor's tick in a process that is warm, as the daemon's is. Run by `scenarios`."""

import time
from typing import Any

import orjson
from dagster import DagsterInstance, build_sensor_context

from messaging_assets.definitions import defs

TICKS = 6
SENSOR = "messaging_new_messages"


def main() -> dict[str, Any]:
    """Evaluates the sensor several times, each time from the cursor of the time before."""
    repository = defs.get_repository_def()
    sensor = repository.get_sensor_def(SENSOR)
    cursor: str | None = None
    seconds = []
    with DagsterInstance.get() as instance:
        for _ in range(TICKS):
            began = time.monotonic()
            context = build_sensor_context(
                instance=instance, cursor=cursor, repository_def=repository, sensor_name=SENSOR
            )
            told = sensor.evaluate_tick(context)
            seconds.append(time.monotonic() - began)
            cursor = told.cursor
    return {"ticks": seconds, "last": told.skip_message or "asks for a sync"}


if __name__ == "__main__":
    print(orjson.dumps(main()).decode())
