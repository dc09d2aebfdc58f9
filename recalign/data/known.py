"""The logs that recalign knows by name: three of the Amazon 2014 5-core logs.

The publisher (McAuley et al., SIGIR 2015) gives no checksums with the files, so none are written
here: the first download's are recorded beside the files and hold from then on
(`download.download`). Whether the log is the paper's is seen in its Table 7 row.
"""

import dataclasses
import os

from recalign.data.download import download

_BASE = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"

FORMAT = "amazon2014"


@dataclasses.dataclass(frozen=True)
class KnownLog:
    """Where a known log's two files are published."""

    reviews_url: str
    metadata_url: str


def _amazon(category: str) -> KnownLog:
    return KnownLog(f"{_BASE}/reviews_{category}_5.json.gz", f"{_BASE}/meta_{category}.json.gz")


KNOWN_LOGS = {
    "toys": _amazon("Toys_and_Games"),
    "beauty": _amazon("Beauty"),
    "sports": _amazon("Sports_and_Outdoors"),
}


def fetch_known(name: str, directory: str | os.PathLike) -> tuple[str, str]:
    """The paths of a known log's reviews and metadata, downloaded where they are not there yet.

    Raises:
        UserError: they cannot be downloaded, or differ from what was downloaded first.
        KeyError: no log is known by that name.
    """
    log = KNOWN_LOGS[name]
    return tuple(  # type: ignore[return-value]
        os.fspath(download(url, os.path.join(directory, url.rpartition("/")[2])))
        for url in (log.reviews_url, log.metadata_url)
    )
