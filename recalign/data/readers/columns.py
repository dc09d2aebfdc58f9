"""Which column of a table plays which role."""

import re
from collections.abc import Mapping, Sequence

from recalign.errors import UserError

LOG_ROLES = ("user", "item", "time", "rating")
REVIEW_ROLES = ("review", "summary")
"""Roles in the log that are looked for where its review texts are asked for."""
ITEM_ROLES = ("item", "title", "brand", "price", "categories", "description")
ROLES = tuple(dict.fromkeys(LOG_ROLES + ITEM_ROLES + REVIEW_ROLES))
"""All roles; the flag for a role is `--<role>_column`."""

# Names as they read without case and punctuation.
_KNOWN_NAMES = {
    "user": "user userid uid reviewerid customerid customer visitorid memberid accountid",
    "item": (
        "item itemid iid asin parentasin product productid movie movieid book bookid isbn song"
        " songid track trackid artist artistid game gameid video videoid article articleid news"
        " newsid business businessid recipe recipeid anime animeid sku"
    ),
    "time": "timestamp time ts unixreviewtime unixtime datetime date eventtime createdat",
    "rating": "rating overall stars score userrating",
    "review": "review reviewtext text reviewbody comment",
    "summary": "summary reviewsummary reviewtitle headline reviewheadline",
    "title": "title itemtitle name itemname producttitle productname movietitle booktitle",
    "brand": "brand store manufacturer",
    "price": "price itemprice",
    "categories": "categories category genres genre maincategory",
    "description": "description itemdescription overview summary",
}


def resolve_columns(
    roles: Sequence[str],
    required: Sequence[str],
    names: Sequence[str],
    given: Mapping[str, str],
    path: str,
) -> tuple[dict[str, str], bool]:
    """The name of each role's column, and whether any was guessed.

    A column that is given counts; "" says that there is none. Otherwise a role's column is guessed
    from its name, where exactly one name fits.

    Args:
        roles: the roles to look for.
        required: those that must be found.
        names: the table's columns.
        given: role -> column.
        path: the file, for messages.

    Raises:
        UserError: a given column that is not there, a required one that is not found, or several
            that fit.
    """
    found: dict[str, str] = {}
    guessed = False
    for role in roles:
        if role in given:
            if given[role]:
                found[role] = _existing(given[role], role, names, path)
            continue
        fitting = _fitting(role, [name for name in names if name not in given.values()])
        if len(fitting) > 1:
            raise UserError(
                f"{path}: columns {_listed(fitting)} could each be the {role}:"
                f" say which with --{role}_column"
            )
        if fitting:
            found[role] = fitting[0]
            guessed = True
    for role in required:
        if role not in found:
            raise UserError(
                f"{path}: no {role} column among {_listed(names)}: name it with"
                f" --{role}_column, or put a header line there"
            )
    return found, guessed


def _fitting(role: str, names: Sequence[str]) -> list[str]:
    known = _KNOWN_NAMES[role].split()
    return [name for name in names if _plain(name) in known]


def _plain(name: str) -> str:
    """A column's name without case and punctuation, and without RecBole's ":type".

    >>> _plain("user_id:token"), _plain("movieId")
    ('userid', 'movieid')
    """
    return re.sub(r"[^a-z0-9]", "", name.lower().split(":")[0])


def _existing(name: str, role: str, names: Sequence[str], path: str) -> str:
    if name not in names:
        raise UserError(
            f"{path}: no column {name!r} (given as the {role} column) among {_listed(names)}"
        )
    return name


def _listed(names: Sequence[str], most: int = 20) -> str:
    listed = ", ".join(repr(name[:40]) for name in names[:most])
    return listed + (f" and {len(names) - most} more" if len(names) > most else "")
