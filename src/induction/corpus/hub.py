"""Data sets of the Hugging Face hub: the commit of a revision, its files, and their bytes by ranges.

The endpoint and the token are those of `huggingface_hub` (HF_ENDPOINT, HF_TOKEN, `hf auth login`).
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff  # type: ignore[attr-defined]

from induction.errors import InductionError
from induction.study.corpora import Source, matches, unmatched_patterns

MOST_RETRIES = 10
LONGEST_WAIT_SECONDS = 60.0
"""A range is asked for again after 1, 2, 4, … seconds: an outage of five minutes ends no build of hours. The library
retries broken connections, timeouts and the statuses 408, 429 and 5xx, and waits as long as the hub says."""

# Of whatever HTTP client the library has: its errors of status are also this client's, and OSErrors.
_ERRORS: tuple[type[Any], ...] = HfHubHTTPError.__bases__


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a data set at a commit."""

    dataset: str
    commit: str
    path: str
    n_bytes: int

    @property
    def origin(self) -> str:
        """Where it is, as the library's file system writes it."""
        return f"hf://datasets/{self.dataset}@{self.commit}/{self.path}"

    def open(self) -> BinaryIO:
        """Return the file, of which each read downloads what it returns.

        Raises:
            InductionError: when it is read, and the hub refuses it or cannot be reached for minutes.
        """
        return cast(BinaryIO, _Ranges(self))


def commit_of(dataset: str, revision: str) -> str:
    """Return the commit that a revision is now.

    Raises:
        InductionError: there is no such data set or revision, or the hub cannot be reached.
    """
    with _told_of(dataset, revision):
        return str(HfApi().dataset_info(dataset, revision=revision, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT).sha)


def files_of(source: Source) -> list[HubFile]:
    """Return the files of a data set that its source includes, in the order of their paths.

    Raises:
        InductionError: none matches, one is not Parquet, or the hub cannot be reached.
    """
    dataset, revision = str(source.hugging_face), str(source.revision)
    with _told_of(dataset, revision):
        entries = HfApi().list_repo_tree(dataset, revision=revision, recursive=True, repo_type="dataset")
        listed = {entry.path: entry.size for entry in entries if isinstance(entry, RepoFile)}
    found = [
        HubFile(dataset, revision, path, n_bytes)
        for path, n_bytes in sorted(listed.items())
        if matches(PurePosixPath(path), source.include) and not matches(PurePosixPath(path), source.exclude)
    ]
    if not found:
        without = f" without matching exclude {list(source.exclude)}" if source.exclude else ""
        suffixes = sorted({PurePosixPath(path).suffix for path in listed} - {""})
        raise InductionError(
            f"data set {dataset}, revision {revision}: none of its {len(listed)} files matches include "
            f"{list(source.include)}{without}. Kinds of files there: {', '.join(suffixes) or 'none'}. {_CONVERTED}"
        )
    if unmatched := unmatched_patterns(source.include, [PurePosixPath(path) for path in listed]):
        raise InductionError(
            f"data set {dataset}, revision {revision}: include: none of its {len(listed)} files matches "
            f"{unmatched[0]}. Correct or remove it."
        )
    if other := [file.path for file in found if PurePosixPath(file.path).suffix.lower() not in (".parquet", ".pq")]:
        raise InductionError(
            f"data set {dataset}, revision {revision}: {other[0]} is included, and only Parquet is read from the hub. "
            f"Narrow the source's include to .parquet files. {_CONVERTED}"
        )
    return found


_CONVERTED = "The hub keeps the beginning of many data sets as Parquet: revision refs/convert/parquet."


@contextmanager
def _told_of(dataset: str, revision: str) -> Iterator[None]:
    """Tell the hub's refusals and a broken network as mistakes, with what to do."""
    page, what = f"{constants.ENDPOINT}/datasets/{dataset}", f"data set {dataset}, revision {revision}"
    login = "log in (hf auth login) or set HF_TOKEN"
    try:
        yield
    except GatedRepoError:
        raise InductionError(f"{what}: its owner asks for consent. Accept the terms at {page}, then {login}.") from None
    except RepositoryNotFoundError:
        raise InductionError(
            f"{what}: {constants.ENDPOINT} has no such data set, or it is private. Correct the source's hugging_face, "
            f"or {login}."
        ) from None
    except RevisionNotFoundError:
        raise InductionError(
            f"{what}: there is no such revision. Correct the source's revision; {page}/commits/main lists commits."
        ) from None
    except EntryNotFoundError:
        raise InductionError(f"{what}: a file is missing there. Choose another revision: {page}/tree/main.") from None
    except OfflineModeIsEnabled:
        raise InductionError(f"{what}: HF_HUB_OFFLINE forbids to reach the hub. Unset it.") from None
    except HfHubHTTPError as error:
        status = error.response.status_code
        again = f"For access, {login}." if status in (401, 403) else "Try again later."
        raise InductionError(f"{what}: {urlsplit(str(error.response.url)).netloc} answered {status}. {again}") from None
    except _ERRORS as error:
        raise InductionError(
            f"{what}: {constants.ENDPOINT} cannot be reached ({error or type(error).__name__}). Try again; where the "
            f"machines that compute have no network, make the corpus on one that has; HF_ENDPOINT names a mirror."
        ) from None


class _Ranges(io.RawIOBase):
    """A file of the hub of which each read is one request for a range of bytes."""

    def __init__(self, file: HubFile) -> None:
        self._file = file
        self._position = 0
        self._storage: str | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.n_bytes}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        stop = min(self._position + len(buffer), self._file.n_bytes)
        n_bytes = max(stop - self._position, 0)
        if n_bytes:
            with _told_of(self._file.dataset, self._file.commit):
                content = self._fetch(self._position, stop)
            if len(content) != n_bytes:
                raise InductionError(
                    f"{self._file.origin}: {len(content)} bytes came where {n_bytes} were asked for: "
                    f"{constants.ENDPOINT} does not serve parts of files. Set HF_ENDPOINT to one that does."
                )
            buffer[:n_bytes] = content
            self._position = stop
        return n_bytes

    def _fetch(self, start: int, stop: int) -> bytes:
        # The hub counts every answer that sends on to the storage, and few of them are free: the storage's address is
        # used until it runs out. It holds its own permission; the token is for the hub alone.
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        if self._storage is not None:
            response = self._get(self._storage, headers)
            if response.is_success:
                return bytes(response.content)
            self._storage = None
        url = hf_hub_url(
            self._file.dataset,
            self._file.path,
            repo_type="dataset",
            revision=self._file.commit,
            endpoint=constants.ENDPOINT,
        )
        response = self._get(url, {**build_hf_headers(), **headers})
        hf_raise_for_status(response)
        if urlsplit(str(response.url)).netloc != urlsplit(url).netloc:
            self._storage = str(response.url)
        return bytes(response.content)

    @staticmethod
    def _get(url: str, headers: dict[str, str]) -> Any:
        return http_backoff(
            "GET",
            url,
            headers=headers,
            timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
            max_retries=MOST_RETRIES,
            max_wait_time=LONGEST_WAIT_SECONDS,
        )
