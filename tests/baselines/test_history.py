"""History against a count by hand."""

import numpy as np

from recalign.baselines import history


def test_a_score_is_the_users_share_of_likes():
    users, likes = np.array([0, 0, 0, 0, 1, 2]), np.array([1, 1, 0, 1, 0, 1])
    asked = np.array([2, 0, 1, 0])
    assert history.scores(users, likes, asked).tolist() == [1.0, 0.75, 0.0, 0.75]
