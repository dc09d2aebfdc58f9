"""Which column of a table plays which role."""

import re
from collections.abc import Collection, Mapping, Sequence

from recalign.errors import UserError

LOG_ROLES = ("user", "item", "time", "rating")
EVENT = "event"
"""The role of what happened: a view, a purchase. Its column selects lines (--events)."""
REVIEW_ROLES = ("review", "summary")
"""Roles in the log that are looked for where its review texts are asked for."""
ITEM_ROLES = ("item", "title", "brand", "price", "categories", "description")
ROLES = tuple(dict.fromkeys((*LOG_ROLES, EVENT, *ITEM_ROLES, *REVIEW_ROLES)))
"""All roles; the flag for a role is `--<role>_column`."""

# Names as they read without case and punctuation, the likeliest first; those behind a bar count
# where none before it is there.
_KNOWN_NAMES = {
    role: [part.split() for part in names.split("|")]
    for role, names in {
        "user": (
            "user userid uid reviewerid customerid customer visitorid memberid accountid"
            " | useridx steamid authorsteamid profilename reviewprofilename householdkey"
        ),
        "item": (
            "item itemid iid asin parentasin product productid movie movieid book bookid isbn song"
            " songid track trackid artist artistid game gameid video videoid article articleid"
            " news newsid business businessid recipe recipeid anime animeid sku stockcode"
            " | aid gmapid malid beerbeerid"
        ),
        "time": (
            "timestamp time ts unixreviewtime unixtime datetime date eventtime createdat"
            " | tdat timestep"
        ),
        "rating": (
            "rating overall stars score userrating | ratings reviewscore reviewoverall myrating"
            " | recommended isrecommended voted liked isliked like vote thumbs feedback"
        ),
        "event": (
            "event eventtype eventname behavior behaviour behaviortype behaviourtype action"
            " actiontype interactiontype activity activitytype | type"
        ),
        "review": "review reviewtext text reviewbody comment",
        "summary": "summary reviewsummary reviewtitle headline reviewheadline",
        "title": (
            "title itemtitle name itemname producttitle productname movietitle booktitle"
            " | primarytitle titre titulo"
        ),
        "brand": "brand store manufacturer | brandname",
        "price": "price itemprice | unitprice",
        "categories": (
            "categories category genres genre maincategory"
            " | categoryname class productcategory productgroupname producttypename"
        ),
        "description": (
            "description itemdescription overview summary | detaildesc productdescription"
        ),
    }.items()
}


_PICKED = ("brand", "price", "categories", "description")
"""Roles that nobody is asked about: of several columns the likeliest is taken, and told."""


def _word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


_KEYS = _word_set("id ids idx index key code no nr num number sku uid raw hash pseudo")
_PEOPLE = _word_set(
    "user customer cust client member visitor account reviewer buyer shopper person household "
    "subscriber listener reader player viewer consumer student learner patron rater"
)
_VISITS = _word_set("session sessionid sessid")
_THINGS = _word_set(
    "item items product prod prdt goods article movie film book song track game app video course "
    "recipe anime manga business restaurant hotel venue place poi location shop listing news "
    "story post beer wine podcast episode show series album artist job ad offer material sku "
    "content document doc paper photo drug property lesson exercise question pin board"
)
_PLAIN = _word_set("full display short long original primary main english en local the")
_NAMES = _word_set("title name titel label headline")
_OPINIONS = _word_set("rating ratings stars score grade")
_OPINION_WORDS = _word_set("star user review overall my customer given value explicit")
_MOMENTS = _word_set(
    "date time timestamp datetime ts dt dat epoch unix at when day moment bought purchased"
)
_OTHER_MOMENTS = _word_set(
    "birth born release released publish published publication expiry expire expires signup "
    "registration registered join joined launch launched updated modified due end founded"
)


def resolve_columns(
    roles: Sequence[str],
    required: Sequence[str],
    names: Sequence[str],
    given: Mapping[str, str],
    path: str,
    preferred: Mapping[str, str] | None = None,
) -> tuple[dict[str, str], bool]:
    """The name of each role's column, and whether any was guessed.

    A column that is given counts; "" says that there is none. Otherwise a role's column is guessed
    from its name, where exactly one name fits, or the likeliest of several for what nobody need
    say (`_PICKED`).

    Args:
        roles: the roles to look for.
        required: those that must be found.
        names: the table's columns.
        given: role -> column.
        path: the file, for messages.
        preferred: role -> the column that is guessed first, where there is one of that name.
    """
    found: dict[str, str] = {}
    guessed = False
    # The items may call a column as the log calls another.
    taken = given.values() if "user" in roles else {given.get(role) for role in roles}
    free = [name for name in names if name not in taken]
    for role in roles:
        if role in given:
            if given[role] not in ("", *names):
                raise UserError(
                    f"{path}: no column {given[role]!r} (given as the {role} column) among"
                    f" {listed(names)}"
                )
            if given[role]:
                found[role] = given[role]
            continue
        fitting = _fitting(role, free)
        if role == "item" and not fitting and "user" not in roles:
            # In a table of items alone `id` is theirs; in a log it would be the line's.
            fitting = [name for name in free if _plain(name) == "id"]
        if preferred and preferred.get(role) in fitting:
            fitting = [preferred[role]]
        if role in _PICKED:
            fitting = fitting[:1]
        if role == "title" and len(fitting) > 1:
            # Beside the IDs of tracks, the names of tracks and not of artists.
            things = _THINGS.intersection(words(found.get("item", "")))
            fitting = [name for name in fitting if things.intersection(words(name))] or fitting
        if len(fitting) > 1:
            raise several_fit(path, role, fitting)
        if fitting:
            found[role] = fitting[0]
            guessed = True
    for role in required:
        if role not in found:
            raise UserError(
                f"{path}: no {role} column among {listed(names)}: name it with"
                f" --{role}_column, or put a header line there"
            )
    return found, guessed


def several_fit(path: str, role: str, names: Sequence[str]) -> UserError:
    """What a person is asked where several columns could play a role."""
    return UserError(
        f"{path}: columns {listed(names)} could each be the {role}: say which with --{role}_column"
    )


_MADE_OF = {
    "user": [(_PEOPLE, _KEYS), (_VISITS, _KEYS)],
    "item": [(_THINGS, _KEYS)],
    "title": [(_NAMES, _THINGS | _PLAIN)],
    "rating": [(_OPINIONS, _OPINION_WORDS | _THINGS | _PEOPLE)],
}
"""Role -> the words that its column's name needs, and those that may be beside them; the likeliest
kind of name first."""


def _fitting(role: str, names: Sequence[str]) -> list[str]:
    """Names that are known for the role; else those whose words say it, the known kinds first.

    >>> _fitting("user", ["userName", "cust_no"]), _fitting("item", ["product_type"])
    (['cust_no'], [])
    >>> _fitting("title", ["prod_name", "appTitle", "brand_name", "type_name"])
    ['prod_name', 'appTitle']
    """
    if exact := known_for(role, names):
        return exact
    for needed, others in _MADE_OF.get(role, ()):
        if found := [name for name in names if _is_made_of(words(name), needed, others)]:
            return found
    return []


def known_for(role: str, names: Sequence[str]) -> list[str]:
    """Those of the names that are known for a role, the likeliest first."""
    for known in _KNOWN_NAMES[role]:
        if exact := [name for name in names if _plain(name) in known]:
            return sorted(exact, key=lambda name: known.index(_plain(name)))
    return []


def _is_made_of(parts: Sequence[str], needed: Collection[str], others: Collection[str]) -> bool:
    """Whether one word or more is needed, and all other words are among the others."""
    return any(part in needed for part in parts) and all(
        part in needed or part in others for part in parts
    )


def words(name: str) -> list[str]:
    """The words of a column's name, without RecBole's ":type".

    >>> words("Book-Title"), words("userId"), words("prod_name:token_seq"), words("ProductID2")
    (['book', 'title'], ['user', 'id'], ['prod', 'name'], ['product', 'id'])
    """
    bare = name.split(":")[0]
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", bare)
    return [word.lower() for word in re.findall(r"[^\W\d_]+", spaced)]


def moment_rank(name: str) -> int:
    """How well a column of what looks like times is named for the time of an interaction: 2 well,
    1 not at all, 0 for another time or for what is no time.

    >>> moment_rank("purchase_date"), moment_rank("kauf"), moment_rank("birth_date")
    (2, 1, 0)
    """
    parts = words(name)
    if any(part in _OTHER_MOMENTS or part in _KEYS for part in parts):
        return 0
    return 2 if any(part in _MOMENTS for part in parts) or parts[-1:] == ["on"] else 1


def _plain(name: str) -> str:
    """A column's name without case and punctuation, and without RecBole's ":type".

    >>> _plain("user_id:token"), _plain("movieId")
    ('userid', 'movieid')
    """
    return re.sub(r"[^a-z0-9]", "", name.lower().split(":")[0])


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names for a message, and how many more there are."""
    shown = ", ".join(repr(name[:40]) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
