"""Replays from replays: whole shards or whole episodes, moved, chosen or saved."""
