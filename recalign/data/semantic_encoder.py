"""What turns a text into the codes of a dataset's semantic ids, kept beside the dataset.

The file `semantic_ids.npz` holds the centres of every level and, where the texts were embedded by
TF-IDF, the words, their weights and the projection. It follows from the catalogue and the seed, so
the dataset's fingerprint leaves it out: a dataset that is prepared anew stays its runs'.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int64

from recalign.data.arrays_file import read_arrays
from recalign.data.text_embeddings import EMBEDDINGS, Tfidf, tfidf_embeddings
from recalign.errors import UserError

FILE_NAME = "semantic_ids.npz"
# Texts whose distances to all centres are in memory together.
_TOGETHER = 1_024


@dataclasses.dataclass(frozen=True)
class SemanticEncoder:
    """Texts -> codes.

    Attributes:
        embed: name of the function of `text_embeddings` that makes the vectors.
        tfidf: what that function learned of the catalogue; None where it learned nothing.
        centres: float32 [C, D] of each level.
    """

    embed: str
    tfidf: Tfidf | None
    centres: Sequence[Float[np.ndarray, "C D"]]

    def vectors(self, texts: Sequence[str]) -> Float[np.ndarray, "N D"]:
        """The vectors of texts; zeros for one without a known word."""
        if self.tfidf is not None:
            return self.tfidf(texts)
        found = EMBEDDINGS[self.embed](texts, 0)
        assert isinstance(found, np.ndarray), "all but TF-IDF learn nothing"
        return found

    def codes(self, vectors: Float[np.ndarray, "N D"]) -> Int64[np.ndarray, "N levels"]:
        """The nearest centre to each vector, then to what that leaves over, and so on."""
        left = np.array(vectors, np.float64)
        codes = np.zeros((len(left), len(self.centres)), np.int64)
        for level, centres_CxD in enumerate(self.centres):
            squares_C = (centres_CxD**2).sum(axis=1)
            for start in range(0, len(left), _TOGETHER):
                some = slice(start, start + _TOGETHER)
                # The vector's own square is the same for every centre.
                distance_NxC = squares_C - 2 * left[some] @ centres_CxD.T
                codes[some, level] = distance_NxC.argmin(axis=1)
            left -= centres_CxD[codes[:, level]]
        return codes

    def content(self) -> bytes:
        """The content of its file."""
        arrays = {f"centres_{level}": centres for level, centres in enumerate(self.centres)}
        if self.tfidf is not None:
            words = "\n".join(self.tfidf.words).encode()
            arrays |= {"words": np.frombuffer(words, np.uint8), "idf": self.tfidf.idf}
            arrays["components"] = self.tfidf.components
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, **arrays)
        return file.getvalue()

    @classmethod
    def of_content(cls, content: bytes, embed: str, name: str) -> SemanticEncoder:
        """Reads the content of its file.

        Args:
            content: of the file.
            embed: as `dataset.json` names it.
            name: the file's, for messages.

        Raises:
            UserError: it is something else.
        """
        try:
            arrays = read_arrays(content)
            tfidf = None
            if "words" in arrays:
                words = arrays.pop("words").tobytes().decode().split("\n")
                tfidf = Tfidf(tuple(words), arrays.pop("idf"), arrays.pop("components"))
            centres = [arrays[f"centres_{level}"] for level in range(len(arrays))]
            size = {array.shape[1] for array in centres}
            if len(size) != 1 or embed not in EMBEDDINGS:
                raise ValueError(f"levels of {len(size)} sizes, embedded by {embed}")
            _check(centres, tfidf, embed)
        except (ValueError, KeyError, IndexError) as error:
            raise UserError(f"{name}: damaged ({error}): prepare the dataset again") from error
        return cls(embed, tfidf, centres)


def _check(centres: Sequence[np.ndarray], tfidf: Tfidf | None, embed: str) -> None:
    """Raises a ValueError for arrays that embed no text."""
    floats = {f"centres_{level}": (array, 2) for level, array in enumerate(centres)}
    if (tfidf is None) == (embed == tfidf_embeddings.__name__):
        raise ValueError(f"words are not what {embed} needs")
    if tfidf is not None:
        floats |= {"idf": (tfidf.idf, 1), "components": (tfidf.components, 2)}
        if len({*tfidf.words}) != len(tfidf.words) or "" in tfidf.words:
            raise ValueError("a word stands there twice, or is empty")
    for name, (array, axes) in floats.items():
        if array.ndim != axes or array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(f"{name} is {array.dtype}, {list(array.shape)[:4]}, or not finite")
        if not array.size:
            raise ValueError(f"{name} is empty")
    if tfidf is not None and (
        tfidf.components.shape != (centres[0].shape[1], len(tfidf.words))
        or len(tfidf.idf) != len(tfidf.words)
    ):
        raise ValueError(
            f"components are {list(tfidf.components.shape)} of {len(tfidf.words)} words"
        )
