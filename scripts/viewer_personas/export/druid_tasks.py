"""Running a task of Druid to its end: submitted, watched, shut down where nobody waits for it."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

import tenacity

from viewer_personas.druid import Druid, first_line
from viewer_personas.errors import InputError, PersonasError, Unreachable

# What other tasks and the cluster do to a task, and not what it is: worth another attempt.
_RETRYABLE = ("InsertLockPreempted", "TaskStartTimeout", "WorkerFailed", "WorkerRpcFailed")

Watch = Callable[[str], str | None]
"""Is given the id of a running task again and again; a reason to shut it down, or None."""


class TaskFailed(Unreachable):
    """A task failed. What it was to replace is as it was before."""


class _Retryable(TaskFailed):
    pass


def waits(longest: float = 2) -> Iterator[None]:
    """Wait a little between two looks at the server, and then longer."""
    seconds = 0.1
    while True:
        time.sleep(seconds)
        seconds = min(seconds * 1.5, longest)
        yield


class Tasks:
    """The tasks of one export.

    `hide` takes out of a message what nobody is to see. A task that takes longer than
    `timeout_seconds` is shut down, and so is one that is running when anything is raised.
    """

    def __init__(self, druid: Druid, timeout_seconds: float, hide: Callable[[str], str]) -> None:
        self._druid = druid
        self._timeout_seconds = timeout_seconds
        self._hide = hide

    def run_sql(self, query: str, max_tasks: int, watch: Watch = lambda task: None) -> None:
        """Run a statement that replaces; it has replaced everything, or nothing was changed.

        A failure that does not come from the statement is tried again. Raises `TaskFailed` with
        Druid's reason, `InputError` where Druid does not take the statement.
        """
        retrying = self._druid.retrying().copy(
            retry=tenacity.retry_if_exception_type(_Retryable), reraise=True
        )
        retrying(self._run_sql, query, max_tasks, watch)

    def _run_sql(self, query: str, max_tasks: int, watch: Watch) -> None:
        query_id = str(uuid.uuid4())
        # waitUntilSegmentsLoad is left out: 27 does not know it, and with it a task keeps its slots
        # while the cluster loads. The exporter waits for all dates at once, in all versions.
        context = {
            "sqlQueryId": query_id,
            "maxNumTasks": max_tasks,
            "maxParseExceptions": 0,
            "failOnEmptyInsert": True,
            "sqlTimeZone": "UTC",
        }
        # known before the answer comes, so that a task can be shut down whose answer was lost
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
        """What a task that runs SQL reports so far; empty while there is nothing."""
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
            # Druid may repeat the statement in its answer, and where the rows are is a part of it
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
        """Where we stop waiting, by whatever error or by Ctrl-C, the task stops as well."""
        try:
            yield
        except BaseException:
            # one that has ended does not mind; one that we cannot reach ends by itself
            with suppress(PersonasError):
                self._druid.post(f"{_path(task_id)}/shutdown", {})
            raise


def _path(task_id: str) -> str:
    return f"/druid/indexer/v1/task/{quote(task_id, safe='')}"
