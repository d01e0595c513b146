"""An event loop in a thread of its own, and its orderly end.

A loop that still runs in a daemon thread when the interpreter ends makes extension modules complain of
leaks, and one in an ordinary thread keeps the process from ending: it has to be stopped and joined.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread of its own, started when first needed.

    It knows nothing of who uses it, so that its user can be collected while the loop runs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._at_stop: list[Callable[[], Coroutine[Any, Any, None]]] = []

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the running loop."""
        with self._lock:
            if self._stopped:
                raise RuntimeError("the transport is closed")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._run, args=(self._loop,), name="messaging-transport", daemon=True
                )
                self._thread.start()
            return self._loop

    def start_all(self, coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[Future[T]]:
        """Run coroutines in the loop, side by side; a future that is cancelled cancels its own."""
        loop = self.loop()
        futures: list[Future[T]] = [Future() for _ in coroutines]
        loop.call_soon_threadsafe(_start, loop, coroutines, futures)
        return futures

    def is_current(self) -> bool:
        """Tell whether the caller is the loop's own thread."""
        return threading.current_thread() is self._thread

    def at_stop(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have something closed in the loop before it ends."""
        self._at_stop.append(close)

    def stop(self) -> None:
        """End the loop and wait for its thread; what is still running in it is cancelled."""
        with self._lock:
            self._stopped = True
            loop, self._loop = self._loop, None
        if loop is None or self._thread is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        # The collector may run in the loop's own thread, which cannot wait for itself.
        if not self.is_current():
            self._thread.join()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(self._finish())
            loop.close()

    async def _finish(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for close in self._at_stop:
            await close()
        await asyncio.get_running_loop().shutdown_asyncgens()
        await asyncio.get_running_loop().shutdown_default_executor()


def _start(
    loop: asyncio.AbstractEventLoop, coroutines: Sequence[Coroutine[Any, Any, T]], futures: list[Future[T]]
) -> None:
    for coroutine, future in zip(coroutines, futures, strict=True):
        task = loop.create_task(coroutine)
        task.add_done_callback(partial(_hand_over, future))
        future.add_done_callback(partial(_cancel_with, loop, task))


# `asyncio.run_coroutine_threadsafe` does the same by one more future, which costs a tenth of a request.
def _hand_over(future: Future[T], task: asyncio.Task[T]) -> None:
    if task.cancelled():
        future.cancel()
        return
    error = task.exception()
    if not future.set_running_or_notify_cancel():
        # Nobody wants it any more.
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(task.result())


def _cancel_with(loop: asyncio.AbstractEventLoop, task: asyncio.Task[T], future: Future[T]) -> None:
    if future.cancelled() and not task.done():
        loop.call_soon_threadsafe(task.cancel)
