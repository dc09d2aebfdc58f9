"""What a preparation is asked for, beside the log: checked before anything is read."""

import dataclasses
import os
import re
from collections.abc import Sequence

from etils import epath

from recalign.data.ids import check_method
from recalign.data.info_fields import MOST_SEED
from recalign.data.temporal import LEAVE_ONE_OUT, check_split
from recalign.data.vocabulary import T5_ADDRESS, T5_MODEL, read_pieces, why_t5_cannot_be_read
from recalign.errors import UserError

T5, OWN = "t5", "own"
"""What --vocabulary may be."""


@dataclasses.dataclass(frozen=True)
class Preparation:
    """The settings of `prepare`, in memory and on Beam; a UserError for one that cannot be."""

    name: str  # lower-case letters, digits and underscores, starting with a letter
    data_dir: str | os.PathLike  # where prepared datasets live; local or gs://
    item_ids: str = "random"  # one of `ids.METHODS`
    item_tokens: bool = False  # the ids become pieces of the vocabulary (`item_tokens.py`)
    seed: int = 0  # decides the ids and the validation sample
    k_core: int = 5  # the least interactions of a user and of an item; 0 or 1 keeps all
    # A user's later interactions with an item stay; the k-core counts an item of a user once.
    keep_repeats: bool = False
    # The rating above which an item is liked; None for the paper's 3, or 0.5 of ratings 0 and 1.
    like_threshold: float | None = None
    split: str = LEAVE_ONE_OUT
    # A temporal split's moments, a number or ISO 8601 each; none for those before which lie 80 and
    # 90 percent of the interactions.
    cuts: Sequence[str] = ()
    sentencepiece_model: str | os.PathLike | bytes | None = None  # a file or its content
    vocabulary: str = T5  # which tasks read where they need it, or `OWN`, laid beside the data
    noun: str = ""  # what users buy, for prompts: "films"; "" for products
    verb: Sequence[str] = ()  # what they did and do, if not buy: ("watched", "watch")

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise UserError(
                f"dataset name {self.name!r}: lower-case letters, digits and underscores only,"
                " starting with a letter"
            )
        if not 0 <= self.seed <= MOST_SEED:
            raise UserError(f"--seed {self.seed}: 0 to {MOST_SEED}")
        if self.k_core < 0:
            raise UserError(f"--k_core {self.k_core}: 0 or more")
        check_method(self.item_ids)
        check_split(self.split, self.cuts)
        if self.verb and len(self.verb) != 2:
            verb = ",".join(self.verb)
            raise UserError(f"--verb {verb}: two forms, as in 'listened to,listen to'")
        for words in (self.noun, *self.verb):
            if "{" in words or "}" in words:
                raise UserError(f"{words!r}: a brace stands for a field of a prompt")

    def read_vocabulary(self) -> bytes | None:
        """The content of the SentencePiece model that is given, or that item tokens need; None for
        none, or for one that is yet to be made from the catalogue."""
        given, own = self.sentencepiece_model, self.vocabulary == OWN
        if isinstance(given, bytes):
            return given
        if own and given is not None:
            raise UserError(
                "--vocabulary own and --sentencepiece_model are two vocabularies: give one"
            )
        if own or (given is None and not self.item_tokens):
            return None
        path = T5_MODEL if given is None else given
        way = (
            f": give a copy of it, from {T5_ADDRESS}, by --sentencepiece_model FILE, or"
            " --vocabulary own, which needs none"
        )
        if given is None and (reason := why_t5_cannot_be_read()):
            raise UserError(f"{path}: {reason}{way}")
        try:
            content = epath.Path(path).read_bytes()
        except Exception as error:  # Cloud clients raise classes of their own.
            reason = getattr(error, "strerror", None) or str(error).strip().split("\n")[0]
            raise UserError(f"{os.fspath(path)}: {reason}{'' if given else way}") from error
        read_pieces(content, os.fspath(path))
        return content
