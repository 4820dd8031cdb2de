"""The policy learns as REINFORCE with Adam prescribes."""

from __future__ import annotations

import numpy as np

from spinenet_tf.search.samplers.policy import Policy


def test_it_is_uniform_over_the_choices_of_each_decision_at_first():
    policy, random = Policy([2, 5], 0.1, 0.9), np.random.default_rng(0)
    np.testing.assert_allclose(policy.probabilities(), [[0.5, 0.5, 0, 0, 0], [0.2] * 5])
    drawn = np.array([policy.draw(random) for _ in range(2000)])
    assert np.abs(np.bincount(drawn[:, 0]) / 2000 - 0.5).max() < 0.05
    assert np.abs(np.bincount(drawn[:, 1]) / 2000 - 0.2).max() < 0.05


def test_the_first_steps_are_those_of_adam():
    """With the baseline at the first reward, its gradient is 0; the second has an advantage of 2."""
    policy = Policy([2], 0.1, 0.9)
    policy.learn([0], 1.0)
    np.testing.assert_array_equal(policy.logits, [[0.0, 0.0]])
    assert policy.baseline == 1.0
    policy.learn([0], 3.0)
    gradient = 2.0 * np.array([[0.5, -0.5]])
    mean, square = 0.1 * gradient / (1 - 0.9**2), 0.001 * gradient**2 / (1 - 0.999**2)
    np.testing.assert_allclose(policy.logits, 0.1 * mean / (np.sqrt(square) + 1e-8))
    np.testing.assert_allclose(policy.baseline, 0.9 * 1.0 + 0.1 * 3.0)


def test_it_finds_the_rewarded_choices():
    policy, random = Policy([3, 4, 1], 0.1, 0.9), np.random.default_rng(0)
    for _ in range(300):
        chosen = policy.draw(random)
        policy.learn(chosen, float((chosen[0] == 2) + (chosen[1] == 1)))
    assert policy.probabilities()[[0, 1], [2, 1]].min() > 0.9
    assert policy.probabilities()[2].tolist() == [1, 0, 0, 0]
