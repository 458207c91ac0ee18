"""Types that flow between parts, config, checkpoints, metrics and errors."""
