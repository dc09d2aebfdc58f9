"""Joins the items of the log and of the catalogue, and says what keeps their IDs apart."""

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping

from recalign.data.readers.tally import WARNING
from recalign.errors import UserError

_REMEMBERED = 500_000
"""IDs of the catalogue that are not the log's: what a repair is tried on."""


def _without_zeros(id_: str) -> str:
    return id_.lstrip("0") or id_


def _as_integer(id_: str) -> str:
    """A number that a spreadsheet or a column with gaps made a float of: 123.0, 1.23e+02."""
    try:
        number = float(id_)
    except ValueError:
        return id_
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else id_


def _number(id_: str) -> str:
    """The only digits, as a number: SKU-003, i3, /item/3."""
    match = re.fullmatch(r"\D*(\d+)\D*", id_)
    return match[1].lstrip("0") or "0" if match else id_


def _letters_and_digits(id_: str) -> str:
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", id_)).casefold()


REPAIRS: Mapping[str, tuple[str, Callable[[str], str]]] = {
    "zeros": ("zeros at the front are left out", _without_zeros),
    "case": ("upper and lower case are the same", str.casefold),
    "integer": ("123.0 and 1.23e2 are 123", _as_integer),
    "letters": ("letters and digits alone count, without case", _letters_and_digits),
    "path": ("what stands behind the last slash counts", lambda id_: id_.rsplit("/", 1)[-1]),
    "number": ("the number counts, without what is around it", _number),
}
"""What --join_ids may be: how two IDs are made alike, the mildest first."""


class Joining:
    """Finds the log's ID of a catalogue's, and what kept the two apart."""

    def __init__(self, wanted: Mapping[str, int] | None, repair: str = "") -> None:
        """
        Args:
            wanted: the log's items, and the number of interactions of each; None for whatever
                there is.
            repair: one of `REPAIRS`, which must not make two of the log's items one; "" where IDs
                have to be the same.
        """
        check_repair(repair)
        self._wanted = {} if wanted is None else wanted
        self._takes_all = wanted is None
        self._repair = REPAIRS[repair][1] if repair else None
        self._others: dict[str, None] = {}
        self._log_id: dict[str, str] = {}
        if self._repair:
            for id_ in self._wanted:
                first = self._log_id.setdefault(self._repair(id_), id_)
                if first != id_:
                    raise UserError(
                        f"--join_ids {repair}: {first!r} and {id_!r} of the log would be one item"
                    )

    def of_log(self, id_: str) -> str | None:
        """The log's ID of an item of the catalogue; None where the log has none."""
        if self._takes_all or id_ in self._wanted:
            return id_
        if self._repair and (found := self._log_id.get(self._repair(id_))):
            return found
        if len(self._others) < _REMEMBERED:
            self._others[id_] = None
        return None

    def missing_note(self, path: str, joined: Collection[str]) -> str:
        """What a person is told where some of the log's items are not in the catalogue; a UserError
        where none is."""
        missing = [id_ for id_ in self._wanted if id_ not in joined]
        if not missing:
            return ""
        way = self._way(missing)
        if not joined:
            of_catalogue = f", its {next(iter(self._others))!r}" if self._others else ""
            raise UserError(
                f"{path}: none of the log's {len(self._wanted):,} items is in it: the log has"
                f" {missing[0]!r}{of_catalogue}: "
                + (way or "give the items of this log, the column of the same IDs by --item_column")
                + ", or leave --items out"
            )
        interactions = sum(self._wanted[id_] for id_ in missing)
        return (
            f"{WARNING}{len(missing):,} of the log's {len(self._wanted):,} items are not in it"
            f" ({100 * len(missing) / len(self._wanted):.1f} %, with"
            f" {100 * interactions / sum(self._wanted.values()):.1f} % of the interactions)"
            + (f": {way}" if way else "")
        )

    def _way(self, missing: Collection[str]) -> str:
        """The repair that joins the most of the missing, as a flag and with an example."""
        best, found, example = "", 0, ("", "")
        for name, (_, repair) in REPAIRS.items():
            others = {repair(id_): id_ for id_ in reversed(self._others)}
            pairs = [(id_, others[form]) for id_ in missing if (form := repair(id_)) in others]
            if len(pairs) > found:
                best, found, example = name, len(pairs), pairs[0]
        if not best:
            return ""
        return (
            f"--join_ids {best} would join {found:,} of them, such as {example[0]!r} and"
            f" {example[1]!r} ({REPAIRS[best][0]})"
        )


def check_repair(repair: str) -> None:
    """Raises a UserError for a --join_ids that is not there."""
    if repair and repair not in REPAIRS:
        raise UserError(f"--join_ids {repair!r} is none of {', '.join(REPAIRS)}")
