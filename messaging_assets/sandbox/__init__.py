"""A messaging API in a box: a real HTTP server, with faults to order.

`Sandbox` runs in a thread, `SandboxProcess` as a process of its own; `python -m messaging_assets.sandbox`
serves until it is stopped. Nothing in here knows the rest of the package, nor Dagster, nor dlt.

Example:
    >>> from messaging_assets.sandbox import Faults, Sandbox
    >>> with Sandbox(messages=250, faults=Faults(page_cap=50)) as sandbox:
    ...     len(sandbox.rows("messages"))
    250
"""

from messaging_assets.sandbox.application import Asked
from messaging_assets.sandbox.faults import At, Broken, Change, Delete, Edit, Faults, Insert, Move
from messaging_assets.sandbox.process import SandboxProcess
from messaging_assets.sandbox.server import Sandbox
from messaging_assets.sandbox.workspace import ManualClock, Workspace

__all__ = [
    "Asked",
    "At",
    "Broken",
    "Change",
    "Delete",
    "Edit",
    "Faults",
    "Insert",
    "ManualClock",
    "Move",
    "Sandbox",
    "SandboxProcess",
    "Workspace",
]
