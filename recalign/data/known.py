"""The logs that recalign knows by name: three of the Amazon 2014 5-core logs.

The publisher (McAuley et al., SIGIR 2015) gives no checksums with the files, so none are written
here: the first download's are recorded beside the files and hold from then on
(`download.download`). Whether the log is the paper's is seen in its Table 7 row.
"""

import os

from recalign.data.download import download

_BASE = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"

FORMAT = "amazon2014"

KNOWN_LOGS = {"toys": "Toys_and_Games", "beauty": "Beauty", "sports": "Sports_and_Outdoors"}
"""Name -> the publisher's name of the category."""


def fetch_known(name: str, directory: str | os.PathLike) -> tuple[str, str]:
    """The paths of a known log's reviews and metadata, downloaded where they are not there yet.

    Raises:
        UserError: they cannot be downloaded, or differ from what was downloaded first.
        KeyError: no log is known by that name.
    """

    def fetched(file: str) -> str:
        return os.fspath(download(f"{_BASE}/{file}", os.path.join(directory, file)))

    category = KNOWN_LOGS[name]
    return fetched(f"reviews_{category}_5.json.gz"), fetched(f"meta_{category}.json.gz")
