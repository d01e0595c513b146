"""The program `messaging`, or `python -m messaging_assets`: the command line in a process of its own.

What the commands are stands in `cli`.
"""

from messaging_assets.warehouse.garbage import brief_process


def main() -> None:
    """Runs the command that the arguments name, and ends the process with its exit code."""
    with brief_process():
        from messaging_assets.cli import main as command_line

        command_line()


if __name__ == "__main__":
    main()
