"""Replays from and to other formats; each format is a kind with its options as fields."""
