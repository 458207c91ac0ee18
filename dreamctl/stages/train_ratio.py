"""How many updates are due."""


class TrainRatio:
    """Updates that keep pace with environment steps, `ratio` of them a step (DreamerV3 official code, `elements.when.Ratio`).

    The first call gives one update; later ones what has become due since, so the sum never drifts from steps · ratio by more than one.

    Args:
        ratio: updates an environment step.
        reached: the step up to which updates were given, None before the first call; save it and hand it back to go on.
    """

    def __init__(self, ratio: float, reached: float | None = None) -> None:
        assert ratio >= 0
        self.ratio, self.reached = ratio, reached

    def __call__(self, step: int) -> int:
        """Updates due at environment step `step`; none while steps that were lost are made up for."""
        if self.ratio == 0:
            return 0
        if self.reached is None:
            self.reached = step
            return 1
        due = max(0, int((step - self.reached) * self.ratio))
        self.reached += due / self.ratio
        return due
