"""Training on arrays alone: rollout, replay, learner, task switches and the chunk around them."""
