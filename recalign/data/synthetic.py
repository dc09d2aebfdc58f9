"""A synthetic catalogue and log with planted structure: the demo corpus.

The log is drawn from a `Law` (see law.py), so the best possible result on it is known. Titles are
made of a theme word, a product word and a quality word, each shared by many items.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Sequence

import numpy as np

from recalign.data.interactions import Interactions, ItemTable
from recalign.data.law import LIKED_RATINGS, OTHER_RATINGS, Law
from recalign.data.prepare import prepare
from recalign.data.prepared import PreparedDataset
from recalign.data.vocabulary import train_vocabulary, with_sentinels, wordings
from recalign.errors import UserError

LAW_FILE = "law.npz"

THEMES = (
    "pirate", "space", "farm", "dragon", "circus", "ocean", "robot", "jungle", "castle", "train",
    "fairy", "desert", "winter", "garden", "rocket", "monster",
    "cowboy", "mermaid", "panda", "ninja",
)  # fmt: skip
PRODUCTS = (
    "puzzle", "kite", "lantern", "blocks", "mask", "drum", "wagon", "poster", "figure", "game",
    "backpack", "pillow", "clock", "sticker", "bucket", "whistle",
    "costume", "lamp", "marble", "yoyo",
)  # fmt: skip
# The word in a title that names an item's quality, and what it adds to a like, in logits.
QUALITIES = {"deluxe": 2.2, "classic": 0.8, "basic": -0.8, "budget": -2.2}
# Pieces at most; 10 x 10 items need some 500, and each further word a few.
VOCABULARY_SIZE = 600
PIECES_A_WORD = 10
# What P5's prompts are written with and the paper's are not. They take the place of the last of
# T5's hundred sentinels: all other ids, and the model's size, are those without them.
P5_CHARACTERS = "EFGHKMNOSY_v"
SENTINELS = 100 - len(P5_CHARACTERS)


@dataclasses.dataclass(frozen=True)
class CorpusConfig:
    """Size and law (`Law`) of a synthetic corpus; the defaults are the demo's."""

    users: int = 3000
    themes: int = 10
    products: int = 10  # the catalogue holds one item for each pair of theme and product
    shortest: int = 6
    longest: int = 8  # a sequence's length is drawn uniformly
    popularity_exponent: float = 0.3  # popularity is rank to the power of minus this
    taste_weight: float = 0.76
    sequel_weight: float = 0.12
    popularity_weight: float = 0.12
    taste_effect: float = 0.7


def prepare_demo(
    data_dir: str | os.PathLike,
    seed: int = 0,
    *,
    name: str = "demo",
    item_ids: str = "random",
    item_tokens: bool = False,
    config: CorpusConfig = CorpusConfig(),
) -> PreparedDataset:
    """Draws a corpus, trains its vocabulary and prepares it, with the law beside the data.

    A corpus that the 5-core would thin out is refused: the law would not be the log's any more.
    """
    _check(config)
    rng = np.random.default_rng(seed)
    law = draw_law(config, rng)
    log, items = draw_log(law, config, rng)
    if np.bincount(log.item, minlength=len(law.theme)).min() < 5:
        raise UserError(
            f"synthetic corpus: {config.users} users leave an item with fewer than 5 interactions;"
            " give more users or fewer items"
        )
    return prepare(
        log,
        items,
        name=name,
        data_dir=data_dir,
        item_ids=item_ids,
        item_tokens=item_tokens,
        seed=seed,
        sentencepiece_model=_vocabulary(items.titles, config),
        sources=[{"synthetic": dataclasses.asdict(config)}],
        extra_files={LAW_FILE: law.to_bytes()},
    )


def read_law(dataset: PreparedDataset) -> Law | None:
    """The law over the dataset's catalogue; None where the log was not drawn from one."""
    if LAW_FILE not in dataset.info["files"]:
        return None
    content, raw_ids = dataset.content(LAW_FILE), dataset.catalogue.raw_ids
    try:
        return Law.from_bytes(content).over_catalogue(raw_ids)
    except ValueError as error:
        raise UserError(f"{dataset.directory / LAW_FILE}: no law of a corpus ({error})") from error


def draw_law(config: CorpusConfig, rng: np.random.Generator) -> Law:
    """Draws a law: which quality an item has, how popular it is, what follows it."""
    themes, products = _words(THEMES, config.themes), _words(PRODUCTS, config.products)
    num_items = len(themes) * len(products)
    rank = rng.permutation(num_items) + 1.0
    popularity = rank**-config.popularity_exponent
    levels = np.array(list(QUALITIES.values()))
    return Law(
        raw_ids=np.array([f"{theme}-{product}" for theme in themes for product in products]),
        theme=np.repeat(np.arange(config.themes), config.products),
        quality=levels[rng.permutation(num_items) % len(levels)],
        popularity=popularity / popularity.sum(),
        sequel=_single_cycle(num_items, rng),
        taste_weight=config.taste_weight,
        sequel_weight=config.sequel_weight,
        popularity_weight=config.popularity_weight,
        taste_effect=config.taste_effect,
    )


def draw_log(
    law: Law, config: CorpusConfig, rng: np.random.Generator
) -> tuple[Interactions, ItemTable]:
    """Draws every user's sequence and ratings (4 or 5: a like; 1 to 3: none) from the law."""
    users, items, ratings = [], [], []
    for user in range(config.users):
        taste = rng.integers(law.num_themes)
        history: list[int] = []
        for _ in range(rng.integers(config.shortest, config.longest + 1)):
            probabilities = law.next_item_given_taste(history)[taste]
            history.append(int(rng.choice(len(probabilities), p=probabilities)))
        for item in history:
            likes = rng.random() < law.like(item)[taste]
            stars = LIKED_RATINGS if likes else OTHER_RATINGS
            ratings.append(rng.integers(stars[0], stars[-1] + 1))
        users += [user] * len(history)
        items += history
    log = Interactions(
        user_ids=[f"user{user:05d}" for user in range(config.users)],
        item_ids=law.raw_ids.tolist(),
        user=np.array(users, np.int32),
        item=np.array(items, np.int32),
        timestamp=None,
        rating=np.array(ratings, np.float32),
    )
    return log, _item_table(law)


def _words(words: Sequence[str], count: int) -> list[str]:
    """The first `count` of the words and, when they are used up, of their pairs written as one."""
    pairs = (f"{first}{second}" for first, second in itertools.permutations(words, 2))
    return list(itertools.islice(itertools.chain(words, pairs), count))


def _vocabulary(titles: Sequence[str], config: CorpusConfig) -> bytes:
    default = CorpusConfig()
    more = config.themes + config.products - default.themes - default.products
    size = VOCABULARY_SIZE + PIECES_A_WORD * max(0, more)
    return with_sentinels(train_vocabulary(wordings(titles), size, P5_CHARACTERS), SENTINELS)


def _item_table(law: Law) -> ItemTable:
    word = {level: name for name, level in QUALITIES.items()}
    raw_ids = law.raw_ids.tolist()
    pairs = zip(raw_ids, law.quality, strict=True)
    titles = [f"{raw_id.replace('-', ' ')} {word[quality]}" for raw_id, quality in pairs]
    categories = [[raw_id.split("-")[0]] for raw_id in raw_ids]
    return dataclasses.replace(ItemTable.of_titles(raw_ids, titles), categories=categories)


def _single_cycle(size: int, rng: np.random.Generator) -> np.ndarray:
    """A random permutation without fixed points: int64 [size]."""
    order = rng.permutation(size)
    successor = np.empty(size, np.int64)
    successor[order] = np.roll(order, -1)
    return successor


def _check(config: CorpusConfig) -> None:
    """Raises a UserError where the corpus cannot be drawn."""
    for name, words in (("themes", THEMES), ("products", PRODUCTS)):
        if not 2 <= getattr(config, name) <= len(words) ** 2:
            raise UserError(
                f"synthetic corpus: {name} is {getattr(config, name)},"
                f" must be 2 to {len(words) ** 2}"
            )
    if not 3 <= config.shortest <= config.longest < config.themes * config.products:
        raise UserError(
            f"synthetic corpus: sequence lengths {config.shortest} to {config.longest} do not fit"
            f" a catalogue of {config.themes * config.products} items (3 at least)"
        )
