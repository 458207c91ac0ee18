"""Replays in figures: what they hold, how they differ, whether they are whole."""
