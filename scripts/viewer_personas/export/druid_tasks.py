"""Running a Druid task to its end: submit it, watch it, and shut it down if it is abandoned."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

import tenacity

from viewer_personas.druid import Druid, first_line
from viewer_personas.errors import InputError, PersonasError, Unreachable

# Failures caused by other tasks or the cluster, not by the task itself: worth a retry.
_RETRYABLE = ("InsertLockPreempted", "TaskStartTimeout", "WorkerFailed", "WorkerRpcFailed")

Watch = Callable[[str], str | None]
"""Called repeatedly with the id of a running task; a reason to shut it down, or None."""


class TaskFailed(Unreachable):
    """A task failed. The data that it should have replaced is unchanged."""


class _Retryable(TaskFailed):
    pass


def waits(longest: float = 2) -> Iterator[None]:
    """Wait between two polls of the server, longer each time."""
    seconds = 0.1
    while True:
        time.sleep(seconds)
        seconds = min(seconds * 1.5, longest)
        yield


class Tasks:
    """The tasks of one export.

    `hide` redacts secrets in a message. A task that takes longer than `timeout_seconds` is shut
    down, and so is one that runs when an exception is raised.
    """

    def __init__(self, druid: Druid, timeout_seconds: float, hide: Callable[[str], str]) -> None:
        self._druid = druid
        self._timeout_seconds = timeout_seconds
        self._hide = hide

    def run_sql(self, query: str, max_tasks: int, watch: Watch = lambda task: None) -> None:
        """Run a replacing statement; it replaces everything or changes nothing.

        A failure that the statement did not cause is retried. Raises `TaskFailed` with Druid's
        reason, `InputError` if Druid rejects the statement.
        """
        retrying = self._druid.retrying().copy(
            retry=tenacity.retry_if_exception_type(_Retryable), reraise=True
        )
        retrying(self._run_sql, query, max_tasks, watch)

    def _run_sql(self, query: str, max_tasks: int, watch: Watch) -> None:
        query_id = str(uuid.uuid4())
        # waitUntilSegmentsLoad is not used: 27 does not know it, and it makes a task keep its slots
        # while the cluster loads. The exporter waits for all dates at once, in all versions.
        context = {
            "sqlQueryId": query_id,
            "maxNumTasks": max_tasks,
            "maxParseExceptions": 0,
            "failOnEmptyInsert": True,
            "sqlTimeZone": "UTC",
        }
        # known before the answer arrives, so that a task can be shut down even if its answer is
        # lost
        task_id = f"query-{query_id}"
        with self._shut_down_on_error(task_id):
            body = {"query": query, "context": context}
            answer = self._post("/druid/v2/sql/task", body)
            if not isinstance(answer, dict) or answer.get("taskId") != task_id:
                raise InputError(
                    f"{self._druid.place}: {self._druid.server.url} does not take SQL tasks:"
                    " load the extension druid-multi-stage-query"
                )
            self._wait(task_id, watch)

    def run_native(self, spec: dict[str, Any]) -> None:
        """Run a native task, which has an `id`; raises `TaskFailed` with Druid's reason."""
        task_id = str(spec["id"])
        with self._shut_down_on_error(task_id):
            self._post("/druid/indexer/v1/task", spec)
            self._wait(task_id, lambda task: None)

    def report(self, task_id: str) -> dict[str, Any]:
        """What a SQL task has reported so far; empty at first."""
        try:
            answer = self._druid.get(f"{_path(task_id)}/reports")
            payload = answer["multiStageQuery"]["payload"]
        except (PersonasError, KeyError, TypeError):
            return {}
        return payload if isinstance(payload, dict) else {}

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        try:
            return self._druid.post(path, body)
        except PersonasError as error:
            # Druid may repeat the statement in its answer, and the statement says where the rows
            # are
            raise type(error)(self._hide(str(error))) from None

    def _wait(self, task_id: str, watch: Watch) -> None:
        started = time.monotonic()
        for _ in waits():
            status = self._druid.get(f"{_path(task_id)}/status")["status"]
            match status.get("statusCode") or status.get("status"):
                case "SUCCESS":
                    return
                case "FAILED":
                    raise self._failure(task_id, str(status.get("errorMsg") or "no reason given"))
            if time.monotonic() - started > self._timeout_seconds:
                raise TaskFailed(
                    f"{self._druid.place}: the task {task_id} was not done after"
                    f" {self._timeout_seconds:g} s and was shut down; the old rows stay. If it"
                    " needs longer, or waits for free slots of tasks, raise"
                    " export.druid.task_timeout_seconds"
                )
            if reason := watch(task_id):
                raise TaskFailed(f"{self._druid.place}: {self._hide(reason)}")

    def _failure(self, task_id: str, message: str) -> TaskFailed:
        error = self.report(task_id).get("status", {}).get("errorReport", {}).get("error", {})
        code = error.get("errorCode") or message.partition(":")[0]
        if error.get("errorMessage"):
            message = f"{code}: {error['errorMessage']}"
        kind = _Retryable if code in _RETRYABLE else TaskFailed
        return kind(
            f"{self._druid.place}: the task {task_id} failed, and the old rows stay:"
            f" {self._hide(first_line(message))}"
        )

    @contextmanager
    def _shut_down_on_error(self, task_id: str) -> Iterator[None]:
        """If waiting stops, by any error or Ctrl-C, the task is shut down too."""
        try:
            yield
        except BaseException:
            # harmless for a task that has ended; an unreachable one ends by itself
            with suppress(PersonasError):
                self._druid.post(f"{_path(task_id)}/shutdown", {})
            raise


def _path(task_id: str) -> str:
    return f"/druid/indexer/v1/task/{quote(task_id, safe='')}"
