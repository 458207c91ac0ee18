"""Actor and critic that learn from imagined rollouts."""
