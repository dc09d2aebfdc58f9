"""What clients say over HTTP and what they are answered: the schema at /docs."""

import json
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StrictBool,
    StrictInt,
    StrictStr,
)
from pydantic_core import PydanticCustomError

MOST_REQUESTS = 1_000
"""Histories of one call."""

MOST_NESTED = 32
"""Lists and objects of `user` in each other."""


def _can_be_handed_back(user: Any) -> Any:
    """What Python reads as JSON may nest too deeply to be written, or be no text or number."""
    level, depth = [user], 0
    while level := [
        inner
        for value in level
        if isinstance(value, list | dict)
        for inner in (value.values() if isinstance(value, dict) else value)
    ]:
        depth += 1
        if depth > MOST_NESTED:
            raise PydanticCustomError("user", f"nested more than {MOST_NESTED} deep")
    try:
        json.dumps(user, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise PydanticCustomError("user", "no JSON: half a character, or NaN") from error
    return user


ID = Annotated[StrictStr | StrictInt, Field(description="the catalogue's, or the log's own")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Asked(_Strict):
    """A history, and what may follow it."""

    history: Annotated[list[ID], Field(min_length=1, description="IDs, the oldest first")]
    k: Annotated[
        StrictInt | None,
        Field(ge=1, description="how many items; the server's own number where it is left out"),
    ] = None
    only: Annotated[
        StrictStr | Annotated[list[ID], Field(min_length=1)] | None,
        Field(description="the items to choose from: the name of a subset, or IDs"),
    ] = None
    exclude: Annotated[list[ID], Field(description="IDs that are not to be answered")] = []
    untrained: Annotated[
        StrictBool,
        Field(description="false leaves out items that came after training (--new_items)"),
    ] = True
    user: Annotated[
        Any,
        AfterValidator(_can_be_handed_back),
        Field(
            description="handed back as it came; as the log's ID of a user it tells models that"
            " are told of users whose history it is"
        ),
    ] = None


class AskedMany(_Strict):
    """Several histories at once."""

    requests: Annotated[list[Asked], Field(min_length=1, max_length=MOST_REQUESTS)]


class Named(_Strict):
    """Sets of items by name; null removes one."""

    subsets: Annotated[
        dict[
            Annotated[StrictStr, Field(min_length=1, max_length=100)],
            Annotated[list[ID], Field(min_length=1)] | None,
        ],
        Field(min_length=1),
    ]


class Sizes(BaseModel):
    """The number of items of every set that there is now."""

    subsets: dict[str, int]


class Item(BaseModel):
    """A recommended item; `score` is the probability that it is the next.

    `untrained`: it came after training, and its probability is that of what its text is like.
    """

    id: str
    raw_id: str
    title: str
    score: FiniteFloat
    log_prob: FiniteFloat
    untrained: bool


class Answer(BaseModel):
    """The items, the most likely first."""

    items: list[Item]
    user: Any = None


class AnswerMany(BaseModel):
    """An answer a history, in their order."""

    answers: list[Answer]


class Failure(BaseModel):
    """What was wrong, in one line."""

    error: str


class State(BaseModel):
    """Whether the server is there."""

    status: str
