import jax
import jax.numpy as jnp
import numpy as np
import optax

from recalign.trainer.optimizer import adamw

FIRST_STEP = 7
SETTINGS = {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3, "weight_decay": 0.3}


def test_it_is_adamw_as_published_and_norms_do_not_decay():
    rng = np.random.default_rng(0)
    start = {
        "mlp": {"kernel": rng.normal(size=(3, 4)).astype("float32")},
        "norm": {"scale": rng.normal(size=4).astype("float32")},
    }
    gradients = [jax.tree.map(lambda x: rng.normal(size=x.shape), start) for _ in range(4)]
    rates = {FIRST_STEP + n: rate for n, rate in enumerate([0.1, 0.0, 0.2, 0.05])}

    optimizer = adamw(lambda step: jnp.asarray(rates[int(step)]), FIRST_STEP, **SETTINGS)
    params = jax.tree.map(jnp.asarray, start)
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)

    assert int(state.step) == FIRST_STEP + 4
    for name, decay in (("mlp", 0.3), ("norm", 0.0)):
        (leaf,) = start[name]
        expected, mean, square = start[name][leaf].astype(float), 0.0, 0.0
        for number, (gradient, rate) in enumerate(zip(gradients, rates.values(), strict=True), 1):
            g = gradient[name][leaf]
            mean, square = 0.8 * mean + 0.2 * g, 0.95 * square + 0.05 * g * g
            corrected = mean / (1 - 0.8**number), square / (1 - 0.95**number)
            step = corrected[0] / (np.sqrt(corrected[1]) + 1e-3) + decay * expected
            expected = expected - rate * step
        np.testing.assert_allclose(params[name][leaf], expected, rtol=2e-5, atol=2e-6)
