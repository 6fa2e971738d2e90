"""The writer's thread, which makes every change to a file: batches, syncs, rotation, and the switch of the manifest.

All changes run in this one thread, one after the other, so they need no lock. The thread does very little Python per
batch, because it shares the interpreter's lock with the event loop: one durable write, one write of the acknowledged
mark, and one callback into the loop.

After an error with an unknown outcome, such as a failed sync, every further job fails with ``StoreFailed``. A full disk
is different: the partly written batch is cut off and the cut is synced, so nothing of the batch remains. Without the
cut, remains of it could follow a later, shorter batch and look like committed records. The batch fails with
``Unavailable``, and the next one is tried.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
import time
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final, TypeVar

from goverse.errors import GoverseError, StoreFailed, Unavailable
from goverse.limits import KIB, MIB
from goverse_node.stores.wal import manifest as manifests
from goverse_node.stores.wal.directory import DataDirectory
from goverse_node.stores.wal.ending import create_segment
from goverse_node.stores.wal.files import Files, Handle
from goverse_node.stores.wal.manifest import Manifest
from goverse_node.stores.wal.refusals import FULL_ERRNOS, temporary_refusal
from goverse_node.stores.wal.segment import RECORDS_AT, SLOTS, encode_mark

CLAIM_BYTES: Final = 64 * KIB  # space to claim ahead in a young segment; small, so that a new store stays small
CLAIM_BYTES_MAX: Final = 1 * MIB  # writing more zeros in one step would delay commits noticeably
PRESENCE_CHECK_S: Final = 1.0
ROOM_CHECK_S: Final = 1.0  # interval at which a full disk is tested while no batch arrives

T = TypeVar("T")

_log = logging.getLogger("goverse.store.wal")

Done = Callable[[GoverseError | None, float], None]
"""Callback after each batch, on the event loop: the error or None, and the duration of the durable write in seconds."""


class LogWriter:
    """Writes the last segment of a data directory."""

    def __init__(
        self,
        directory: DataDirectory,
        manifest: Manifest,
        files: Files,
        *,
        segment_bytes: int,
        done: Done,
        room: Callable[[], None],
    ) -> None:
        """Open the last segment in ``manifest`` for writing. It must not contain records.

        Both callbacks run on the event loop: ``done`` after each batch, ``room`` when a full disk has room again.
        """
        self.manifest = manifest
        self._directory = directory
        self._files = files
        self._segment_bytes = segment_bytes
        self._done = done
        self._room = room
        self._full = False
        self._jobs: SimpleQueue[tuple[bytes, int] | Callable[[], None] | None] = SimpleQueue()
        self._failure = ""
        self._presence_checked = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="goverse-wal", daemon=True)
        self._loop: AbstractEventLoop
        self._handle: Handle
        self._counter = 0
        self._end = RECORDS_AT
        self._last_seq = 0
        self._claimed = 0
        last = manifest.segments[-1]
        self._take_over(last, files.open(directory.segment(last), write=True))

    @property
    def failure(self) -> str:
        """The reason why the writer has stopped writing, or an empty string."""
        return self._failure

    @property
    def written_bytes(self) -> int:
        """The offset in the last segment up to which records are acknowledged."""
        return self._end

    def start(self, loop: AbstractEventLoop) -> None:
        """Start the thread. Callbacks and futures belong to ``loop``."""
        self._loop = loop
        self._thread.start()

    def write(self, frames: bytes, last_seq: int) -> None:
        """Queue a batch whose last record has position ``last_seq``. Its outcome is reported through ``done``."""
        self._jobs.put((frames, last_seq))

    def call(self, action: Callable[[], T]) -> Future[T]:
        """Run ``action`` in the writer's thread, between two batches."""
        future: Future[T] = self._loop.create_future()

        def run() -> None:
            result: T | GoverseError
            try:
                result = self._guarded(action)
            except GoverseError as error:
                result = error
            self._tell(_settle, future, result)

        self._jobs.put(run)
        return future

    def stop(self) -> None:
        """Finish the queued jobs, cut off unused space and close the segment. Blocks. May be called twice."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()

    # --- in the writer's thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=ROOM_CHECK_S if self._full else None)
            except Empty:
                self._look_for_room()
                continue
            if job is None:
                break
            if callable(job):
                job()
            else:
                self._write(*job)
        self._finish()

    def _write(self, frames: bytes, last_seq: int) -> None:
        started = time.perf_counter()
        error = self._attempt(frames, last_seq)
        self._tell(self._done, error, time.perf_counter() - started)
        if error is None and self._end >= self._segment_bytes:
            try:
                self._guarded(self.rotate)
            except Unavailable as full:
                _log.warning("segment not rotated, writing continues in the same one: %s", full.detail)
            except StoreFailed as failure:
                _log.error("%s", failure.detail)

    def _attempt(self, frames: bytes, last_seq: int) -> GoverseError | None:
        if self._failure:
            return StoreFailed(self._failure)
        end = self._end + len(frames)
        try:
            if end > self._claimed:
                self._claim(end)
            self._handle.write_durably(frames, self._end)
            self._handle.write_at(encode_mark(self._counter + 1, end, last_seq), SLOTS[(self._counter + 1) % 2])
            if time.monotonic() - self._presence_checked > PRESENCE_CHECK_S:
                self._check_presence()
        except OSError as error:
            return self._cut_back(error)
        except Exception as error:  # for example MemoryError; if the thread ended, all callers would wait forever
            return self._fail(f"writing {self._path} failed at offset {self._end}: {error!r}")
        self._counter += 1
        self._end = end
        self._claimed = max(self._claimed, end)
        self._full = False
        self._last_seq = last_seq
        return None

    def _look_for_room(self) -> None:
        """Test whether the disk has room again.

        A caller that checks the store's health sends no batches while the store is not ready, so no batch would find
        out.
        """
        before = self._claimed
        try:
            self._claim(self._end + CLAIM_BYTES)
        except OSError as error:
            self._fail(f"claiming space for {self._path} failed: {error}")
        self._full = not self._failure and self._claimed == before
        if self._claimed > before:
            self._tell(self._room)

    def _claim(self, end: int) -> None:
        """Write zeros ahead of the records, so that most syncs do not have to write the file's size.

        The zeros never overwrite a record, because ``_claimed`` is never less than ``_end``.
        """
        ahead = min(max(CLAIM_BYTES, self._end), CLAIM_BYTES_MAX)
        target = end + ahead
        if target - self._claimed > 2 * CLAIM_BYTES_MAX:
            return
        try:
            self._handle.write_at(bytes(target - self._claimed), self._claimed)
        except OSError as error:
            if error.errno not in FULL_ERRNOS:
                raise
            self._handle.truncate(self._claimed)
        else:
            self._handle.sync()
            self._claimed = target

    def _cut_back(self, error: OSError) -> GoverseError:
        """Undo a write that failed because the disk is full. After any other error, stop writing."""
        if error.errno in FULL_ERRNOS:
            try:
                self._handle.truncate(self._end)
                self._claimed = self._end
                self._handle.sync()
            except OSError as second:
                error = second
            else:
                self._full = True
                return Unavailable(f"the disk is full: cannot extend {self._path} ({error.strerror})")
        return self._fail(f"writing {self._path} failed at offset {self._end}: {error}")

    def _fail(self, reason: str) -> StoreFailed:
        self._failure = f"{reason}; nothing is acknowledged until a restart"
        _log.error("%s", self._failure)
        return StoreFailed(self._failure)

    def _guarded(self, action: Callable[[], T]) -> T:
        if self._failure:
            raise StoreFailed(self._failure)
        try:
            return action()
        except GoverseError:
            raise
        except Exception as error:
            refusal = temporary_refusal(error, self._directory.root)
            if refusal is not None:
                raise refusal from error
            raise self._fail(f"changing a file in {self._directory.root} failed: {error!r}") from error

    def _check_presence(self) -> None:
        self._presence_checked = time.monotonic()
        if self._handle.links() == 0 or not self._directory.manifest.exists():
            raise FileNotFoundError(errno.ENOENT, f"{self._path} was removed while it was in use")

    def rotate(self) -> Manifest:
        """Continue the log in a new segment, unless the current one is empty. Call in the writer's thread only."""
        if self._end == RECORDS_AT:
            return self.manifest
        old, end = self._handle, self._end
        first = self._last_seq + 1
        path = self._directory.segment(first)
        handle: Handle | None = None
        try:
            create_segment(self._directory, self.manifest, first, self._files)
            handle = self._files.open(path, write=True)  # before the switch: after it, nothing may use the old segment
            self.switch(self.manifest.with_segment(first))
        except OSError:
            if handle is not None:
                handle.close()
            self._files.unlink(path)
            raise
        self._take_over(first, handle)
        old.truncate(end)
        old.sync()
        old.close()
        return self.manifest

    def switch(self, manifest: Manifest) -> None:
        """Replace the manifest by ``manifest``. Call in the writer's thread only.

        Raises:
            OSError: the old manifest is still valid.
            StoreFailed: the manifest was replaced, but possibly not durably. The next start may find either one.
        """
        path = self._directory.manifest
        manifests.install(manifest, path, self._files)
        try:
            self._files.sync_directory(path.parent)
        except OSError as error:
            raise self._fail(f"{path} was replaced, but possibly not durably: {error}") from error
        self.manifest = manifest

    def _take_over(self, first_seq: int, handle: Handle) -> None:
        self._path = self._directory.segment(first_seq)
        self._handle = handle
        self._counter, self._end, self._last_seq = 0, RECORDS_AT, first_seq - 1
        self._claimed = self._handle.size()

    def _finish(self) -> None:
        try:
            if not self._failure:
                self._handle.truncate(self._end)
                self._handle.sync()
        except OSError as error:
            self._fail(f"closing {self._path} failed: {error}")
        finally:
            self._handle.close()

    def _tell(self, callback: Callable[..., None], *args: object) -> None:
        # RuntimeError: the loop is closed, so nothing waits for the callback.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *args)


def _settle(future: Future[T], result: T | GoverseError) -> None:
    if future.done():
        return
    if isinstance(result, GoverseError):
        future.set_exception(result)
    else:
        future.set_result(result)
