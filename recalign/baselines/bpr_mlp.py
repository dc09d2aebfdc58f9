"""BPR-MLP: a user's preference by a multi-layer perceptron, learned by the BPR loss, in JAX.

No library that we know holds it. The perceptron reads the user's and the item's vector side by
side, as the deep part of Wide&Deep does (Cheng et al., 2016); the loss is -log sigmoid of the
difference of an item's score and a negative's (Rendle et al., 2009).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from recalign.baselines.drivers.exchange import (
    Answer,
    Parts,
    Question,
    answer_items,
    validation_ndcg,
)

_ROUND = 5
"""Epochs between two looks at the validation users."""

_PATIENCE = 3
"""Rounds without a better validation before training stops."""

Params = dict[str, Array]


def initial(
    vector: int, hidden: tuple[int, int], rng: Array, num_users: int, num_items: int
) -> Params:
    """Small random vectors of users and items, He's scale in the perceptron's two layers."""
    first, second = hidden
    shapes = {
        "users": (num_users, vector),
        "items": (num_items, vector),
        "of_user": (vector, first),
        "of_item": (vector, first),
        "second": (first, second),
        "out": (second,),
    }
    scales = {"users": 0.1, "items": 0.1, "of_user": vector**-0.5, "of_item": vector**-0.5}
    params = {
        name: scales.get(name, (2.0 / shape[0]) ** 0.5) * jax.random.normal(key, shape)
        for (name, shape), key in zip(
            shapes.items(), jax.random.split(rng, len(shapes)), strict=True
        )
    }
    return params | {"first_bias": jnp.zeros(first), "second_bias": jnp.zeros(second)}


def scores(
    params: Params, users_B: Int[Array, "*B"], items_B: Int[Array, "*B"]
) -> Float[Array, "*B"]:
    """out . relu(second relu(of_user u + of_item i + first_bias) + second_bias)."""
    user = params["users"][users_B] @ params["of_user"]
    item = params["items"][items_B] @ params["of_item"]
    hidden = jax.nn.relu(user + item + params["first_bias"])
    return jax.nn.relu(hidden @ params["second"] + params["second_bias"]) @ params["out"]


def loss(
    params: Params,
    users_B: Int[Array, "B"],
    liked_B: Int[Array, "B"],
    other_B: Int[Array, "B"],
    l2: float,
) -> Float[Array, ""]:
    """Mean of -log sigmoid(score of the liked - score of the other), and L2 of the vectors used."""
    difference = scores(params, users_B, liked_B) - scores(params, users_B, other_B)
    used = params["users"][users_B], params["items"][liked_B], params["items"][other_B]
    squares = sum(jnp.mean(jnp.sum(vectors**2, axis=1)) for vectors in used)
    return jnp.mean(jax.nn.softplus(-difference)) + l2 * squares


def negatives(
    rng: np.random.Generator, train: Parts, users: Int[np.ndarray, "n"], num_items: int
) -> Int[np.ndarray, "n"]:
    """An item for each of `users` that is not in their training part, all equally likely.

    A user who has every item gets any.
    """
    owned = np.unique(train.users() * num_items + train.items)
    drawn = rng.integers(num_items, size=len(users))
    for _ in range(100):
        clashes = np.flatnonzero(np.isin(users * num_items + drawn, owned))
        if not len(clashes):
            break
        drawn[clashes] = rng.integers(num_items, size=len(clashes))
    return drawn


def answer(question: Question, say: Callable[[str], None]) -> Answer:
    """Trains until the validation users' NDCG@10 gets no better, and answers with the best."""
    settings = question.settings
    rng = np.random.default_rng(question.seed)
    users, items = question.train.users(), question.train.items
    sizes = question.num_users, question.num_items
    params = initial(settings["vector"], settings["hidden"], jax.random.key(question.seed), *sizes)
    optimizer = optax.adam(settings["learning_rate"])
    state = optimizer.init(params)

    @jax.jit
    def step(params: Params, state: Any, *batch: np.ndarray) -> tuple[Params, Any]:
        updates, state = optimizer.update(jax.grad(loss)(params, *batch, settings["l2"]), state)
        return optax.apply_updates(params, updates), state

    size = min(settings["batch"], len(users))
    best, best_epoch, kept = -1.0, 0, params
    for epoch in range(1, question.epochs + 1):
        others = negatives(rng, question.train, users, question.num_items)
        order = rng.permutation(len(users))
        # The rest of an epoch that fills no batch is left out: its turn comes in another order.
        for batch in order[: len(order) // size * size].reshape(-1, size):
            params, state = step(params, state, users[batch], items[batch], others[batch])
        if epoch % _ROUND and epoch != question.epochs:
            continue
        quality = validation_ndcg(question, _scorer(params))
        say(f"  epoch {epoch}: validation NDCG@10 {quality:.4f}")
        if quality > best:
            best, best_epoch, kept = quality, epoch, params
        elif epoch - best_epoch >= _PATIENCE * _ROUND:
            break
    about = {"epochs": best_epoch, "validation_ndcg@10": best}
    return answer_items(question, _scorer(kept), about)


@jax.jit
def _scores_of_all(params: Params, users_B: Int[Array, "B"]) -> Float[Array, "B N"]:
    items = jnp.arange(len(params["items"]))
    return jax.lax.map(lambda user: scores(params, user, items), users_B)


def _scorer(params: Params) -> Callable[[np.ndarray], np.ndarray]:
    return lambda users: np.asarray(_scores_of_all(params, jnp.asarray(users)))
